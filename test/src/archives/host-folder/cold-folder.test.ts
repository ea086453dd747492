import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openHostFolder } from '../../../../src/archives/host-folder/host-folder.js';
import { StoreFolder } from '../../../../src/disks/store-folder.js';
import type { Name } from '../../../../src/name.js';
import type { Tree } from '../../../../src/tree/tree.js';
import { contentOf, find, listAll, unhurried, walk } from './walk.js';

describe('a host folder that is not in memory', () => {
  let work: string;
  let mountpoint: string;
  let store: StoreFolder | undefined;
  let tree: Tree | undefined;

  beforeEach(() => {
    work = mkdtempSync(join(tmpdir(), 'stillfs-cold-'));
    mountpoint = join(work, 'mnt');
    mkdirSync(mountpoint);
  });
  afterEach(async () => {
    await tree?.close();
    store?.close();
    execFileSync('umount', ['-l', mountpoint]);
    execFileSync('rm', ['-rf', work]);
  });

  /** Mounts a fresh file system, fills it, and mounts it anew: nothing of it is in memory. */
  async function openCold(
    fill: (rootfs: string) => void,
    depth: number,
    ...options: string[]
  ): Promise<Tree> {
    const image = join(work, 'image');
    writeFileSync(image, '');
    truncateSync(image, 16 * 1024 * 1024);
    execFileSync('mkfs.ext4', ['-q', '-F', '-N', '2000', ...options, image]);
    execFileSync('mount', ['-o', 'loop', image, mountpoint]);
    const rootfs = join(mountpoint, 'rootfs');
    mkdirSync(rootfs);
    fill(rootfs);
    execFileSync('umount', [mountpoint]);
    execFileSync('mount', ['-o', 'loop', image, mountpoint]);
    store = await StoreFolder.open(mountpoint, depth);
    tree = await openHostFolder(store, 'rootfs' as Name);
    return tree;
  }

  function twoFolders(rootfs: string): void {
    for (const folder of ['a', 'b']) {
      mkdirSync(join(rootfs, folder));
      for (let each = 0; each < 50; each++)
        writeFileSync(join(rootfs, folder, `${each}`), `${folder}${each}`);
    }
  }

  it.each([1, 8])('is listed, looked up and read through a queue of depth %i', async (depth) => {
    const cold = await openCold(twoFolders, depth);
    const contents = new Map<string, string>();
    for await (const { path, attributes } of walk(cold)) {
      expect(await cold.xattrs(attributes.inode, unhurried)).toEqual([]);
      if (attributes.type === 'file') contents.set(path, (await contentOf(cold, attributes)).toString());
    }
    expect([contents.size, contents.get('a/7'), contents.get('b/49')]).toEqual([100, 'a7', 'b49']);
    await cold.capacity?.(unhurried);
  });

  it('is listed without its files being looked at, until somebody goes on to look at files', async () => {
    const cold = await openCold(twoFolders, 8);
    const a = await listAll(cold, (await find(cold, 'a')).inode);
    expect(a.filter(({ found }) => found)).toEqual([]);
    for (const { name } of a) await cold.lookup((await find(cold, 'a')).inode, name, unhurried);
    const b = await listAll(cold, (await find(cold, 'b')).inode);
    expect(b.filter(({ found }) => found)).toHaveLength(50);
    expect(b[0]?.found?.attributes).toEqual(await find(cold, 'b', b[0]?.name ?? ''));
  });

  it('tells types where the file system does not tell them in its listings', async () => {
    const fill = (rootfs: string): void => {
      mkdirSync(join(rootfs, 'folder'));
      writeFileSync(join(rootfs, 'file'), '');
      symlinkSync('file', join(rootfs, 'link'));
    };
    const cold = await openCold(fill, 8, '-O', '^filetype');
    const types = (await listAll(cold, cold.root)).map(({ name, type }) => [name, type]);
    expect(Object.fromEntries(types)).toEqual({ folder: 'directory', file: 'file', link: 'symlink' });
  });
});
