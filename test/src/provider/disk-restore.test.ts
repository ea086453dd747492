import { mkdtemp, open, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Disk } from '../../../src/disks/disk.js';
import { openRawImage } from '../../../src/disks/raw/raw-image.js';
import { StoreFolder } from '../../../src/disks/store-folder.js';
import { StillError } from '../../../src/errors.js';
import { nameFromText } from '../../../src/name.js';
import { Damage } from '../../../src/provider/restore/damage.js';
import { restoreDisk } from '../../../src/provider/restore/disks/disk-restore.js';
import { openRawFile } from '../../../src/provider/restore/disks/raw-file.js';
import { VerifiedDisk } from '../../../src/provider/restore/disks/verified-disk.js';
import { FilePlace } from '../../../src/provider/restore/place.js';
import { sumFile } from '../../../src/provider/sums/sum-file.js';
import { SumsFile } from '../../../src/provider/sums/sums-file.js';

const mebibyte = 2 ** 20;
const size = 9 * mebibyte + 777;
const { signal } = new AbortController();

describe('the restore of a disk', () => {
  let folder: string;
  let stored: string;
  let told: string[];
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'stillfs-disk-restore-'));
    stored = join(folder, 'stored');
    told = [];
    // Data, a hole of three blocks, zeros that are no hole, and a short block at the end.
    const file = await open(stored, 'w');
    await file.write(Buffer.alloc(2 * mebibyte + 100, 'data'), 0, 2 * mebibyte + 100, 0);
    await file.write(Buffer.alloc(mebibyte), 0, mebibyte, 6 * mebibyte);
    await file.write(Buffer.from('the end'), 0, 7, size - 7);
    await file.close();
    await sumFile(stored);
  });
  afterEach(() => rm(folder, { recursive: true }));

  const log = { info: () => undefined, warn: (_: object, sentence: string) => void told.push(sentence) };
  const target = (): string => join(folder, 'target');

  /** Restores what is stored, as `seen` shows it, and says how many places were damaged. */
  async function restore(ignoreDamage: boolean, seen = (disk: Disk): Disk => disk): Promise<number> {
    const store = await StoreFolder.open(folder);
    const image = await openRawImage(store, nameFromText('stored'));
    const sums = await SumsFile.open(`${stored}.sums`);
    const damage = new Damage(ignoreDamage, log);
    const file = await openRawFile(await FilePlace.find(target(), false), size);
    try {
      const source = new VerifiedDisk('disk', seen(image), sums, damage);
      let bytes = 0;
      const progress = (more: number): void => {
        bytes += more;
      };
      await restoreDisk({ source, target: file, admit: async () => undefined, progress }, signal);
      await file.commit();
      expect(bytes).toBe(size);
      return damage.count;
    } catch (error) {
      await file.discard();
      throw error;
    } finally {
      await sums.close();
      await image.close();
      store.close();
    }
  }

  it('gives the same bytes, with holes for all zeros', async () => {
    expect(await restore(false)).toBe(0);
    expect((await readFile(target())).equals(await readFile(stored))).toBe(true);
    expect((await stat(target())).blocks * 512).toBeLessThanOrEqual(2 * mebibyte + 2 * 65_536);
  });

  it.each([
    ['a flipped bit', 12_345, Buffer.from('!'), '0 to 1048575,'],
    ['data where there were zeros', 4 * mebibyte, Buffer.from('!'), '4194304 to 5242879,'],
    ['a change in the short last block', size - 1, Buffer.from('!'), `${9 * mebibyte} to ${size - 1},`],
  ])('ends at %s, and leaves nothing', async (_what, offset, bytes, range) => {
    const file = await open(stored, 'r+');
    await file.write(bytes, 0, bytes.length, offset);
    await file.close();
    await expect(restore(false)).rejects.toThrow(`disk, ${range} is not what was backed up`);
    await expect(readFile(target())).rejects.toThrow('ENOENT');
  });

  it('ends where a hole has come to be in place of data', async () => {
    const bytes = await readFile(stored);
    await truncate(stored, 0);
    await truncate(stored, size);
    const file = await open(stored, 'r+');
    await file.write(bytes.subarray(size - 7), 0, 7, size - 7);
    await file.write(bytes.subarray(mebibyte, 3 * mebibyte), 0, 2 * mebibyte, mebibyte);
    await file.close();
    await expect(restore(false)).rejects.toThrow('disk, 0 to 1048575, is not what was backed up');
  });

  it('gives what there is around bytes that can\u2019t be read, where damage is ignored', async () => {
    const bad = mebibyte + 3 * 65_536 + 5;
    const unreadable = (disk: Disk): Disk => ({
      size: disk.size,
      extents: (offset, length, asked) => disk.extents(offset, length, asked),
      close: () => disk.close(),
      read: async (offset, bytes, asked) => {
        if (offset <= bad && bad < offset + bytes.length) throw new StillError('EIO', 'a bad sector');
        await disk.read(offset, bytes, asked);
      },
    });
    await expect(restore(false, unreadable)).rejects.toThrow("can't be read: a bad sector");
    expect(await restore(true, unreadable)).toBe(1);
    expect(told).toEqual([expect.stringContaining('1048576 to 2097151')]);
    const wanted = await readFile(stored);
    wanted.fill(0, mebibyte + 3 * 65_536, mebibyte + 4 * 65_536);
    expect((await readFile(target())).equals(wanted)).toBe(true);
  });

  it('does not overwrite what has come to its place meanwhile', async () => {
    const place = await FilePlace.find(target(), false);
    const file = await openRawFile(place, 10);
    await file.settle(signal);
    await writeFile(target(), 'precious');
    await expect(file.commit()).rejects.toThrow(/is there already/);
    await file.discard();
    expect(await readFile(target(), 'utf8')).toBe('precious');
  });
});
