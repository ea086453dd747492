import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Disk } from '../../../../src/disks/disk.js';
import { contentOf, find, listAll, unhurried } from '../host-folder/walk.js';
import { bytesDisk } from './file-disk.js';
import { archive, member, pax } from './made-archive.js';
import { type OpenedTar, openTar } from './opened-tar.js';

let cacheFolder: string;

beforeEach(async () => {
  cacheFolder = await mkdtemp(join(tmpdir(), 'stillfs-index-'));
});
afterEach(() => rm(cacheFolder, { recursive: true }));

const bytes = archive(
  pax({ 'SCHILY.xattr.user.x': 'value', mtime: '1.5', atime: '2.5' }),
  member({ name: 'folder/file', data: 'content' }),
  member({ name: 'link', type: '1', target: 'folder/file' }),
  member({ name: 'symlink', type: '2', target: 'folder' }),
  member({ name: 'strange', type: 'Q' }),
);

class CountedDisk {
  reads = 0;
  readonly disk: Disk;

  constructor(content: Buffer) {
    const disk = bytesDisk(content);
    this.disk = {
      ...disk,
      read: (offset, target, signal) => {
        this.reads++;
        return disk.read(offset, target, signal);
      },
    };
  }

  open(identity: string): Promise<OpenedTar> {
    return openTar(this.disk, { signal: unhurried, cacheFolder, identity });
  }
}

async function mustBeWhole({ tree, problems }: OpenedTar): Promise<void> {
  const file = await find(tree, 'folder', 'file');
  expect(file).toMatchObject({ links: 2, modified: { seconds: 1, nanoseconds: 500_000_000 } });
  expect((await contentOf(tree, file)).toString()).toBe('content');
  expect((await find(tree, 'link')).inode).toBe(file.inode);
  expect(await tree.xattrs(file.inode, unhurried)).toEqual(['user.x']);
  expect(Buffer.from(await tree.readlink((await find(tree, 'symlink')).inode, unhurried)).toString()).toBe(
    'folder',
  );
  expect(problems).toEqual(['"strange" is left out: its type "Q" is none that is known.']);
}

describe('the index that is kept of an archive', () => {
  it('opens it again without reading the archive, and tells its problems again', async () => {
    await mustBeWhole(await new CountedDisk(bytes).open('one'));
    const again = new CountedDisk(bytes);
    const opened = await again.open('one');
    expect(again.reads).toBe(0);
    await mustBeWhole(opened);
  });

  it('is not taken for that of another archive, or another state of it', async () => {
    await new CountedDisk(bytes).open('one, as it was');
    const other = new CountedDisk(archive(member({ name: 'other' })));
    const { tree } = await other.open('one, changed');
    expect((await listAll(tree, tree.root)).map(({ name }) => name)).toEqual(['other']);
    const [first = '', second = ''] = await readdir(cacheFolder);
    await writeFile(join(cacheFolder, first), await readFile(join(cacheFolder, second)));
    await writeFile(join(cacheFolder, second), await readFile(join(cacheFolder, first)));
    await mustBeWhole(await new CountedDisk(bytes).open('one, as it was'));
  });

  it('is made anew where any byte of it is damaged, or it is cut short', async () => {
    await new CountedDisk(bytes).open('one');
    const [name = ''] = await readdir(cacheFolder);
    const good = await readFile(join(cacheFolder, name));
    for (let at = 0; at < good.length; at += 7) {
      const damaged = Buffer.from(good);
      damaged[at] = (damaged[at] ?? 0) ^ 0x10;
      await writeFile(join(cacheFolder, name), damaged);
      const again = new CountedDisk(bytes);
      await mustBeWhole(await again.open('one'));
      expect(again.reads).toBeGreaterThan(0);
      const repaired = new CountedDisk(bytes);
      await repaired.open('one');
      expect(repaired.reads).toBe(0);
    }
    await writeFile(join(cacheFolder, name), good.subarray(0, good.length - 40));
    await mustBeWhole(await new CountedDisk(bytes).open('one'));
    expect(await readdir(cacheFolder)).toEqual([name]);
  });

  it('is done without where the cache can not be written', async () => {
    await rm(cacheFolder, { recursive: true });
    await writeFile(cacheFolder, 'no folder');
    await mustBeWhole(await new CountedDisk(bytes).open('one'));
  });
});
