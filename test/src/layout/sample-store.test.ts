import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openLayout } from '../../../src/layout/layout.js';
import { silent } from '../../../src/log.js';
import { openDirectoryStore } from '../../../src/stores/directory/directory-store.js';
import type { BackupStore } from '../../../src/stores/store.js';
import type { Tree } from '../../../src/tree/tree.js';
import { makeSampleStore, sample, systemDiskSize } from '../../corpus/sample-store.js';
import { bytesAt, dataAt, entriesAt, find, inodeAt, linkAt, namesAt, textAt, unending } from './walk.js';

let path: string;
let store: BackupStore;
let tree: Tree;

beforeAll(async () => {
  path = await mkdtemp(join(tmpdir(), 'stillfs-layout-'));
  await makeSampleStore(join(path, 'store'));
  store = await openDirectoryStore({ name: 'nas', path: join(path, 'store') }, silent);
  tree = openLayout({ stores: [store], log: silent });
});

afterAll(async () => {
  await tree.close();
  await store.close();
  await rm(path, { recursive: true, force: true });
});

const full = 'backups/nas/100/20241113T095719Z';
const increment = 'backups/nas/100/20241114T095719Z';

interface MapRow {
  start: number;
  length: number;
  depth: number;
  present: boolean;
  zero: boolean;
}

/** What qemu-img says of an image in the store: neighbours that are alike joined. */
async function rangesOf(image: string, is: (row: MapRow) => boolean): Promise<Array<[number, number]>> {
  const { stdout } = await execa('qemu-img', ['map', '--output=json', '-f', 'qcow2', image]);
  const rows: MapRow[] = JSON.parse(stdout);
  const ranges: Array<[number, number]> = [];
  for (const row of rows.filter(is)) {
    const last = ranges.at(-1);
    if (last?.[1] === row.start) last[1] += row.length;
    else ranges.push([row.start, row.start + row.length]);
  }
  return ranges;
}

const imageOf = (backup: string): string => join(path, 'store/100', backup, 'drive-scsi0.qcow2');

describe('a store that qemu-img made', () => {
  it('is shown by guest and time', async () => {
    expect(await namesAt(tree, 'backups/nas')).toEqual(['100', '101', '200']);
    expect(await namesAt(tree, 'backups/nas/100')).toEqual([
      '20241113T095719Z',
      '20241114T095719Z',
      'latest',
    ]);
    expect(await linkAt(tree, 'backups/nas/100/latest')).toBe('20241114T095719Z');
    expect(await namesAt(tree, full)).toEqual([
      'backup.log',
      'changes',
      'disks',
      'files',
      'firewall.conf',
      'guest.conf',
      'rootfs',
      'volumes.json',
    ]);
    expect(await textAt(tree, `${full}/backup.log`)).toBe('INFO: backup finished\n');
    expect(await namesAt(tree, 'backups/nas/101/20241115T095719Z/disks')).toContain('vda.raw');
  });

  it.each([
    [full, sample.full],
    [increment, sample.increment],
  ])('has in %s/disks what qemu-img reads', async (folder, backup) => {
    const expected = join(path, `${backup}.raw`);
    await execa('qemu-img', ['convert', '-O', 'raw', imageOf(backup), expected]);
    const bytes = await bytesAt(tree, `${folder}/disks/drive-scsi0.raw`, 1_000_003);
    expect(bytes.length).toBe(systemDiskSize);
    expect(bytes.equals(await readFile(expected))).toBe(true);

    const data = await rangesOf(imageOf(backup), (row) => !row.zero);
    expect(await dataAt(tree, `${folder}/disks/drive-scsi0.raw`)).toEqual(data);
    const attributes = await find(tree, `${folder}/disks/drive-scsi0.raw`);
    expect(attributes?.allocated).toBe(data.reduce((sum, [from, to]) => sum + to - from, 0));
  });

  it("has another vendor's image as the same bytes as the raw one that it was made of", async () => {
    const raw = await bytesAt(tree, 'backups/nas/101/20241115T095719Z/disks/vda.raw');
    const vmdk = await bytesAt(tree, 'backups/nas/101/20241116T095719Z/disks/vda.raw');
    expect(vmdk.equals(raw)).toBe(true);
    expect(raw.equals(await readFile(join(path, 'store/101', sample.iso, 'disks/vda.raw')))).toBe(true);
  });

  it('has as changes what the increment itself holds, zeros too', async () => {
    const dirty = await rangesOf(imageOf(sample.increment), (row) => row.depth === 0 && row.present);
    expect(dirty.length).toBeGreaterThan(3);
    expect(await dataAt(tree, `${increment}/changes/drive-scsi0.changed`)).toEqual(dirty);

    const whole = await bytesAt(tree, `${increment}/disks/drive-scsi0.raw`, 1_048_576);
    const expected = Buffer.alloc(systemDiskSize);
    for (const [from, to] of dirty) whole.copy(expected, from, from, to);
    const changed = await bytesAt(tree, `${increment}/changes/drive-scsi0.changed`, 1_000_003);
    expect(changed.equals(expected)).toBe(true);

    const map = join(path, 'increment.map');
    await writeFile(map, await bytesAt(tree, `${increment}/disks/drive-scsi0.dirty.map`));
    const { stdout } = await execa('ddrescuelog', ['-l', '+', '-b', '65536', map]);
    const blocks = dirty.flatMap(([from, to]) =>
      Array.from({ length: (to - from) / 65_536 }, (_, index) => from / 65_536 + index),
    );
    expect(stdout.split('\n').map(Number)).toEqual(blocks);
  });

  it('has the whole disk as changes where there is no parent', async () => {
    const rows: unknown = JSON.parse(await textAt(tree, `${full}/disks/drive-scsi0.dirty.json`));
    expect(rows).toEqual([{ offset: 0, length: systemDiskSize, type: 1, description: 'dirty' }]);
    expect(await dataAt(tree, `${full}/changes/drive-scsi0.changed`)).toEqual([[0, systemDiskSize]]);
  });

  it('says exact sizes of the maps', async () => {
    for (const suffix of ['dirty.json', 'dirty.map']) {
      const file = `${increment}/disks/drive-scsi0.${suffix}`;
      expect((await find(tree, file))?.size).toBe((await bytesAt(tree, file)).length);
    }
  });

  it('has a container folder upon which its own tree stands', async () => {
    const [backup] = await namesAt(tree, 'backups/nas/200');
    const rootfs = await find(tree, `backups/nas/200/${backup}/rootfs`);
    expect(rootfs).toMatchObject({ type: 'directory', graft: true });
    const [one, two] = await Promise.all([1, 2].map(() => tree.graft?.(rootfs?.inode ?? 0n, unending)));
    expect(one?.tree).toBe(two?.tree);
    const own = one?.tree;
    if (!own) throw new Error('no tree stands upon rootfs/');
    expect(await textAt(own, 'etc/hostname')).toBe('shelf\n');
    one?.release();
    two?.release();
  });

  it('gives everything a number of its own', async () => {
    const inodes = new Set<bigint>();
    let count = 0;
    for (const folder of [
      '',
      'backups',
      'backups/nas',
      'backups/nas/100',
      full,
      `${full}/disks`,
      `${full}/changes`,
    ]) {
      const entries = await entriesAt(tree, folder);
      for (const { inode } of entries) inodes.add(inode);
      count += entries.length;
      inodes.add(await inodeAt(tree, folder));
    }
    expect(inodes.size).toBe(count + 1);
  });

  it('gains a backup while it is shown: the kernel is told, and latest moves', async () => {
    const store101 = await inodeAt(tree, 'backups/nas/101');
    const before = await namesAt(tree, 'backups/nas/101');
    const told = new Set<string>();
    const latestMoved = new Promise<void>((resolve) => {
      tree.watch?.((change) => {
        if (change.kind !== 'entry' || change.folder !== store101) return;
        told.add(change.name);
        if (change.name === 'latest') resolve();
      });
    });
    await mkdir(join(path, 'store/101/20241201T000000Z'));
    await latestMoved;
    expect([...told]).toEqual(['20241201T000000Z', 'latest']);
    expect(await namesAt(tree, 'backups/nas/101')).toEqual([...before, '20241201T000000Z'].sort());
    expect(await linkAt(tree, 'backups/nas/101/latest')).toBe('20241201T000000Z');
    await rm(join(path, 'store/101/20241201T000000Z'), { recursive: true });
    while ((await linkAt(tree, 'backups/nas/101/latest')) !== '20241116T095719Z')
      await new Promise(setImmediate);
    expect(await find(tree, 'backups/nas/101/20241201T000000Z')).toBeUndefined();
  });

  it('opens a damaged image with EIO alone, and says why', async () => {
    const backup = join(path, 'store/100/qemu-1731664639');
    await mkdir(backup);
    await writeFile(join(backup, 'vda.qcow2'), 'not an image');
    await writeFile(join(backup, 'vdb.raw'), Buffer.alloc(4096, 7));
    const folder = 'backups/nas/100/20241115T095719Z';
    while (!(await find(tree, folder))) await new Promise(setImmediate);
    await expect(find(tree, `${folder}/disks/vda.raw`)).rejects.toMatchObject({ code: 'EIO' });
    expect((await bytesAt(tree, `${folder}/disks/vdb.raw`)).equals(Buffer.alloc(4096, 7))).toBe(true);
    expect(await textAt(tree, `${folder}/PROBLEM.txt`)).toMatch(/^disks\/vda\.raw can't be read: .+\n$/);
  });
});
