import { execFileSync } from 'node:child_process';
import { appendFileSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type HostFolderOptions, openHostFolder } from '../../../../src/archives/host-folder/host-folder.js';
import { StoreFolder } from '../../../../src/disks/store-folder.js';
import type { Name } from '../../../../src/name.js';
import { parsePosixAcl } from '../../../../src/posix-acl.js';
import type { Change, Tree } from '../../../../src/tree/tree.js';
import { contentOf, find, listAll, unhurried } from './walk.js';

describe('the folder of a container that runs', () => {
  let folder: string;
  let tree: Tree | undefined;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'stillfs-running-folder-'));
    writeFileSync(join(folder, 'file'), 'before');
  });
  afterEach(async () => {
    await tree?.close();
    rmSync(folder, { recursive: true });
  });

  async function open(options: HostFolderOptions): Promise<Tree> {
    const store = await StoreFolder.open(folder);
    tree = await openHostFolder(store, '' as Name, options, unhurried);
    store.close();
    return tree;
  }

  it('of a snapshot can be read until it is let go, also where it is open', async () => {
    const snapshot = await open({ files: 'ending' });
    mkdirSync(join(folder, 'sub'));
    const { inode } = await find(snapshot, 'file');
    const opened = await snapshot.open(inode, 'read', unhurried);
    // Nothing that the kernel could go on with by itself, once it has heard of the end.
    expect(opened.passthrough).toBeUndefined();
    const heard: Change[] = [];
    snapshot.watch?.((change) => heard.push(change));
    await snapshot.close();
    expect(heard).toEqual([{ kind: 'inode', inode }]);
    const refused = { code: 'EIO' };
    await expect(snapshot.read(opened.handle, 0, Buffer.alloc(6), unhurried)).rejects.toMatchObject(refused);
    await expect(snapshot.lookup(snapshot.root, 'sub' as Name, unhurried)).rejects.toMatchObject(refused);
    await expect(snapshot.list(snapshot.root, 0n, unhurried)).rejects.toMatchObject(refused);
    await expect(snapshot.open(inode, 'read', unhurried)).rejects.toMatchObject(refused);
    await snapshot.release(opened.handle);
  });

  it('shows what has changed, and lets nobody remember what was', async () => {
    const live = await open({ files: 'changing' });
    const before = await find(live, 'file');
    expect(before.freshSeconds).toBe(0);
    expect(await live.lookup(live.root, 'new' as Name, unhurried)).toEqual({ freshSeconds: 0 });
    expect(await live.xattrs(before.inode, unhurried)).toEqual([]);
    const { handle, cache } = await live.open(before.inode, 'read', unhurried);
    expect(cache).toBe('direct');
    appendFileSync(join(folder, 'file'), ' and after');
    execFileSync('setfattr', ['-n', 'user.new', '-v', 'x', join(folder, 'file')]);
    writeFileSync(join(folder, 'new'), '');
    const bytes = Buffer.alloc(100);
    expect(await live.read(handle, 0, bytes, unhurried)).toBe(16);
    await live.release(handle);
    expect((await contentOf(live, await find(live, 'file'))).toString()).toBe('before and after');
    expect(await live.xattrs(before.inode, unhurried)).toEqual(['user.new']);
    expect((await listAll(live, live.root)).map(({ name }) => name).sort()).toEqual(['file', 'new']);
  });

  it('shows ids of groups by a map of their own', async () => {
    chownSync(join(folder, 'file'), 100_001, 200_002);
    execFileSync('setfacl', ['-m', 'u:100003:r,g:200004:r', join(folder, 'file')]);
    const shown = await open({
      ids: {
        users: [{ inside: 0, outside: 100_000, count: 1000 }],
        groups: [{ inside: 0, outside: 200_000, count: 1000 }],
      },
    });
    const { inode, uid, gid } = await find(shown, 'file');
    expect([uid, gid]).toEqual([1, 2]);
    const acl = parsePosixAcl(await shown.xattr(inode, 'system.posix_acl_access' as Name, unhurried));
    expect(acl.flatMap(({ kind, id }) => (id === undefined ? [] : [[kind, id]]))).toEqual([
      ['user', 3],
      ['group', 4],
    ]);
  });
});
