import { mkdir, readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { dataBytes, described, restoredSha256, storedBackups } from '../backups/stored-backup.js';
import { writeMarked } from '../machine/known-writes.js';
import { devicePath } from '../machine/machine.js';
import { type Run, stillfs } from './command-line.js';
import { guestSha256 } from './increments.js';
import { MountedGuest } from './mounted-guest.js';

const mebibyte = 2 ** 20;
const disks = ['a', 'b'] as const;
/** One ends within a cluster. */
const sizes = { a: 20 * mebibyte + 4608, b: 12 * mebibyte };

describe('stillfs backup of a running VM', () => {
  let guest: MountedGuest;
  let store: string;
  let guestFolder: string;
  /** What the guest itself computed, for each backup. */
  const recorded = new Map<string, Record<string, string>>();

  beforeAll(async () => {
    guest = await MountedGuest.make({
      agent: false,
      disks: [
        { id: 'a', bytes: sizes.a },
        { id: 'b', bytes: sizes.b, format: 'qcow2' },
      ],
    });
    store = join(guest.folder, 'store');
    guestFolder = join(store, '100');
    await mkdir(store);
    await guest.mount();
  });
  afterAll(() => guest?.remove());
  // Whatever a backup does, it leaves nothing behind.
  afterEach(async () => {
    expect(await readdir(guest.path())).toEqual([]);
    expect((await readdir(tmpdir())).filter((name) => name.startsWith('stillfs-backup-'))).toEqual([]);
    await storedBackups(guestFolder);
  });

  const guestHashes = async (): Promise<Record<string, string>> => ({
    a: await guestSha256(guest.machine, 'a'),
    b: await guestSha256(guest.machine, 'b'),
  });
  const run = (...options: string[]): Promise<Run> =>
    stillfs('backup', '100', '--mount', guest.mountpoint, '--store', store, ...options);
  /** Backs up, and keeps what the guest says of its disks at that moment. */
  const backup = async (...options: string[]): Promise<string> => {
    const hashes = await guestHashes();
    const before = await storedBackups(guestFolder).catch((): string[] => []);
    const { exitCode, stderr } = await run(...options);
    expect(exitCode, stderr).toBe(0);
    const [made, ...others] = (await storedBackups(guestFolder)).filter((name) => !before.includes(name));
    expect(others).toEqual([]);
    if (made === undefined) throw new Error('no backup was made');
    recorded.set(made, hashes);
    return join(guestFolder, made);
  };
  const write = async (mark: string, offset: number, length: number): Promise<void> => {
    for (const disk of disks) await writeMarked(guest.machine, disk, offset, length, mark);
  };

  it('stores a full one of what is not zero', async () => {
    await write('first', mebibyte, 3 * mebibyte);
    const made = await backup('--full');
    const { chain, parent, disks: stored } = await described(made);
    expect({ chain, parent }).toEqual({ chain: null, parent: null });
    for (const disk of disks) {
      expect(stored[disk]).toMatchObject({ mode: 'none', base: null, parent: null, size: sizes[disk] });
      expect(await dataBytes(made, disk)).toBe(3 * mebibyte);
    }
    expect((await readdir(made)).sort()).toEqual([
      'a.qcow2',
      'a.sums',
      'b.qcow2',
      'b.sums',
      'backup.json',
      'backup.log',
    ]);
    expect(await readFile(join(made, 'backup.log'), 'utf8')).toMatch(/took the snapshot .*\n/);
  });

  it('stores of a chain what was written, zeroed and discarded since', async () => {
    const first = await described(await backup());
    expect(first).toMatchObject({ chain: 'store', parent: null, disks: { a: { mode: 'new' } } });
    await write('second', 2 * mebibyte, 100 * 1024);
    await guest.machine.output(
      `dd if=/dev/zero of=${devicePath('a')} bs=64k seek=20 count=4 conv=notrunc,fsync`,
    );
    await guest.machine.output(`blkdiscard -o ${3 * mebibyte} -l ${mebibyte} ${devicePath('b')}`);
    await writeMarked(guest.machine, 'a', sizes.a - 512, 512, 'the very end');
    const second = await backup();
    const { parent, disks: stored } = await described(second);
    const [, before] = await storedBackups(guestFolder);
    expect(parent).toBe(before);
    for (const disk of disks)
      expect(stored[disk]).toMatchObject({ mode: 'reuse', base: first.snapshot, parent: before });
    expect(await dataBytes(second, 'a')).toBe(2 * 65_536 + 4608);
    expect(await dataBytes(second, 'b')).toBe(2 * 65_536);
  });

  it('restores each of them to what the guest had', async () => {
    for (const [name, hashes] of recorded)
      for (const disk of disks)
        expect(await restoredSha256(join(guestFolder, name), disk), `${disk} of ${name}`).toBe(hashes[disk]);
  });
});
