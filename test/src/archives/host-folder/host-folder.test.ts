import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { parseFileCapability } from '../../../../src/archives/capability.js';
import { openHostFolder } from '../../../../src/archives/host-folder/host-folder.js';
import { StoreFolder } from '../../../../src/disks/store-folder.js';
import type { Name } from '../../../../src/name.js';
import { nameFromText } from '../../../../src/name.js';
import { O_PATH } from '../../../../src/posix/openat2.js';
import { parsePosixAcl } from '../../../../src/posix-acl.js';
import { timeFromNanoseconds } from '../../../../src/time.js';
import type { Tree } from '../../../../src/tree/tree.js';
import { makeNode } from '../../../corpus/odd-calls.js';
import { makeOddities } from '../../../corpus/oddities.js';
import { readXattrs } from '../../../tree-comparison/file-calls.js';
import { contentOf, find, listAll, unhurried, walk } from './walk.js';

const rootfs = 'rootfs' as Name;

/** A store of one folder, and that folder as a tree. */
class Store {
  readonly path: string;
  readonly rootfs: string;
  readonly #closing: Array<() => void> = [];

  constructor(under = tmpdir()) {
    this.path = mkdtempSync(join(under, 'stillfs-host-folder-'));
    this.rootfs = join(this.path, rootfs);
    mkdirSync(this.rootfs);
  }

  async open(options: Parameters<typeof openHostFolder>[2] = {}): Promise<Tree> {
    const store = await StoreFolder.open(this.path);
    this.#closing.push(() => store.close());
    const tree = await openHostFolder(store, rootfs, options, unhurried);
    this.#closing.unshift(() => void tree.close());
    return tree;
  }

  remove(): void {
    for (const close of this.#closing) close();
    execFileSync('rm', ['-rf', this.path]);
  }
}

describe.each([
  ['the temporary folder', tmpdir()],
  ['memory', '/dev/shm'],
])('a host folder with every oddity, in %s', (_where, under) => {
  let store: Store;
  let tree: Tree;

  beforeAll(async () => {
    store = new Store(under);
    makeOddities(store.rootfs);
    tree = await store.open();
  });
  afterAll(() => store.remove());

  it('shows each file with the attributes that lstat tells, and nothing else', async () => {
    const seen = new Map<string, bigint>();
    const folders = new Map([['', openSync(store.rootfs, O_PATH)]]);
    try {
      for await (const { path, attributes } of walk(tree)) {
        const slash = path.lastIndexOf('/');
        const within = `/proc/self/fd/${folders.get(path.slice(0, Math.max(slash, 0)))}`;
        const host = Buffer.from(`${within}/${path.slice(slash + 1)}`, 'latin1');
        const told = lstatSync(host, { bigint: true });
        seen.set(path, told.ino);
        if (told.isDirectory()) folders.set(path, openSync(host, O_PATH));
        expect({ path, ...attributes }).toMatchObject({
          path,
          inode: told.ino,
          permissions: Number(told.mode & 0o7777n),
          links: Number(told.nlink),
          uid: Number(told.uid),
          gid: Number(told.gid),
          size: Number(told.size),
          allocated: Number(told.blocks) * 512,
          modified: timeFromNanoseconds(told.mtimeNs),
          changed: timeFromNanoseconds(told.ctimeNs),
          freshSeconds: Number.POSITIVE_INFINITY,
        });
      }
      for (const [path, folder] of folders) {
        const names = readdirSync(`/proc/self/fd/${folder}`, 'latin1');
        for (const name of names) expect(seen.has(path === '' ? name : `${path}/${name}`)).toBe(true);
      }
    } finally {
      for (const descriptor of folders.values()) closeSync(descriptor);
    }
  });

  it('tells types, devices and hard links', async () => {
    expect(await find(tree, 'nodes', 'disk')).toMatchObject({
      type: 'block',
      device: { major: 8, minor: 17 },
    });
    expect(await find(tree, 'nodes', 'large-numbers')).toMatchObject({
      device: { major: 4095, minor: 1048575 },
    });
    expect(await find(tree, 'nodes', 'null')).toMatchObject({
      type: 'character',
      device: { major: 1, minor: 3 },
    });
    expect((await find(tree, 'nodes', 'fifo')).type).toBe('fifo');
    expect((await find(tree, 'nodes', 'socket')).type).toBe('socket');
    expect(await find(tree, 'links', 'elsewhere', 'third')).toEqual(await find(tree, 'links', 'first'));
  });

  it('gives the bytes of every file, targets of links and extended attributes', async () => {
    for await (const { path, attributes } of walk(tree)) {
      if (path.startsWith('deep/') || path.includes('4-gib')) continue;
      const host = Buffer.from(`${store.rootfs}/${path}`, 'latin1');
      if (attributes.type === 'file') {
        const same = (await contentOf(tree, attributes)).equals(readFileSync(host));
        expect({ path, same }).toEqual({ path, same: true });
      }
      if (attributes.type === 'symlink') {
        const target = Buffer.from(await tree.readlink(attributes.inode, unhurried));
        expect(target).toEqual(readlinkSync(host, 'buffer'));
      }
      const xattrs = new Map<string, string>();
      for (const name of await tree.xattrs(attributes.inode, unhurried)) {
        const value = await tree.xattr(attributes.inode, name, unhurried);
        xattrs.set(name, Buffer.from(value).toString('hex'));
      }
      expect(xattrs).toEqual(readXattrs(host));
    }
  });

  it('reaches what lies deeper than a path can be long, up and down', async () => {
    const path = ['deep', ...Array.from({ length: 24 }, (_, level) => `${level}-${'d'.repeat(196)}`)];
    const bottom = await find(tree, ...path, 'bottom');
    expect((await contentOf(tree, bottom)).toString()).toBe('the bottom');
    // From another one, which has none of the way at hand.
    const parent = (await find(tree, ...path)).inode;
    const above = await tree.lookup(parent, '..' as Name, unhurried);
    expect(above.attributes).toEqual(await find(tree, ...path.slice(0, -1)));
  });

  it('finds data and holes where the file system has them', async () => {
    const { inode } = await find(tree, 'holes', 'middle');
    const { handle } = await tree.open(inode, 'read', unhurried);
    expect(await tree.seek?.(handle, 0, 'hole', unhurried)).toBe(65536);
    expect(await tree.seek?.(handle, 65536, 'data', unhurried)).toBe(3 * 65536);
    expect(await tree.seek?.(handle, 3 * 65536, 'hole', unhurried)).toBe(4 * 65536);
    await expect(tree.seek?.(handle, 4 * 65536, 'data', unhurried)).rejects.toMatchObject({ code: 'ENXIO' });
    await tree.release(handle);
  });

  it('reads a piece from the middle of a large file, and nothing past its end', async () => {
    const { inode, size } = await find(tree, 'holes', 'a-byte-beyond-4-gib');
    const { handle, passthrough } = await tree.open(inode, 'read', unhurried);
    const target = Buffer.alloc(10, 0xff);
    expect(await tree.read(handle, 2 ** 32 + 4090, target, unhurried)).toBe(7);
    expect(target).toEqual(Buffer.from('\0\0\0\0\0\0!\xff\xff\xff', 'latin1'));
    expect(await tree.read(handle, size, target, unhurried)).toBe(0);
    expect(await tree.read(handle, size + 5000, target, unhurried)).toBe(0);
    expect(readlinkSync(`/proc/self/fd/${passthrough}`)).toBe(
      join(store.rootfs, 'holes', 'a-byte-beyond-4-gib'),
    );
    await tree.release(handle);
    expect(existsSync(`/proc/self/fd/${passthrough}`)).toBe(false);
  });
});

describe('a host folder', () => {
  let store: Store;
  beforeEach(() => {
    store = new Store();
  });
  afterEach(() => store.remove());
  const host = (...path: string[]): string => join(store.rootfs, ...path);

  it('says what it can not do, by the errors of the system calls', async () => {
    writeFileSync(host('file'), 'x');
    const tree = await store.open();
    const file = await find(tree, 'file');
    expect(await tree.lookup(tree.root, nameFromText('absent'), unhurried)).toEqual({
      freshSeconds: Number.POSITIVE_INFINITY,
    });
    const lookup = (folder: bigint, name: string) => tree.lookup(folder, name as Name, unhurried);
    await expect(lookup(file.inode, 'x')).rejects.toMatchObject({ code: 'ENOTDIR' });
    await expect(lookup(tree.root, 'n'.repeat(256))).rejects.toMatchObject({ code: 'ENAMETOOLONG' });
    await expect(lookup(123_456_789_012n, 'x')).rejects.toMatchObject({ code: 'ESTALE' });
    await expect(tree.list(file.inode, 0n, unhurried)).rejects.toMatchObject({ code: 'ENOTDIR' });
    await expect(tree.readlink(file.inode, unhurried)).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(tree.xattr(file.inode, nameFromText('user.none'), unhurried)).rejects.toMatchObject({
      code: 'ENODATA',
    });
    await expect(tree.open(tree.root, 'read', unhurried)).rejects.toMatchObject({ code: 'EISDIR' });
    await expect(tree.open(file.inode, 'read-write', unhurried)).rejects.toMatchObject({ code: 'EROFS' });
    await expect(tree.read(99, 0, Buffer.alloc(1), unhurried)).rejects.toMatchObject({ code: 'EBADF' });
    expect(tree.mkdir ?? tree.write ?? tree.truncate ?? tree.discard).toBeUndefined();
  });

  it('does not open where there is no folder, or a link to one', async () => {
    const opened = await StoreFolder.open(store.path);
    writeFileSync(join(store.path, 'file'), '');
    symlinkSync(rootfs, join(store.path, 'link'));
    for (const [name, code] of [
      ['absent', 'ENOENT'],
      ['file', 'ENOTDIR'],
      ['link', /ENOTDIR|ELOOP/],
      ['../..', 'EXDEV'],
    ] as const) {
      await expect(openHostFolder(opened, name as Name)).rejects.toMatchObject({
        code: expect.stringMatching(code),
      });
    }
    opened.close();
  });

  it('lists 100 000 entries in pieces, each once, and goes on from any of them', {
    timeout: 120_000,
  }, async () => {
    mkdirSync(host('huge'));
    for (let each = 0; each < 100_000; each++) writeFileSync(host('huge', `${each}`), '');
    const tree = await store.open();
    const { inode } = await find(tree, 'huge');
    const pieces: number[] = [];
    const names = new Set<string>();
    for (let after = 0n; ; ) {
      const piece = await tree.list(inode, after, unhurried);
      const last = piece.at(-1);
      if (!last) break;
      pieces.push(piece.length);
      for (const { name } of piece) {
        expect(names.has(name)).toBe(false);
        names.add(name);
      }
      // Half of the piece is read again from its middle.
      const middle = piece[Math.floor(piece.length / 2)];
      if (pieces.length === 3 && middle) {
        const again = await tree.list(inode, middle.cookie, unhurried);
        const rest = piece.slice(piece.indexOf(middle) + 1).map(({ name }) => name);
        expect(again.slice(0, rest.length).map(({ name }) => name)).toEqual(rest);
      }
      after = last.cookie;
    }
    expect(names.size).toBe(100_000);
    expect(Math.max(...pieces)).toBeLessThan(2000);
  });

  it('goes on from any entry also after its end was seen', async () => {
    for (const name of ['one', 'two', 'three']) writeFileSync(host(name), '');
    const tree = await store.open();
    const entries = await listAll(tree, tree.root);
    const first = entries[0]?.cookie ?? 0n;
    expect((await tree.list(tree.root, first, unhurried)).map(({ name }) => name)).toEqual(
      entries.slice(1).map(({ name }) => name),
    );
  });

  it('lists the end again when it is asked again, and entries that came after a rewind', async () => {
    writeFileSync(host('one'), '');
    const tree = await store.open();
    const last = (await listAll(tree, tree.root)).at(-1)?.cookie ?? 0n;
    expect(await tree.list(tree.root, last, unhurried)).toEqual([]);
    expect(await tree.list(tree.root, last, unhurried)).toEqual([]);
    writeFileSync(host('two'), '');
    expect((await listAll(tree, tree.root)).map(({ name }) => name).sort()).toEqual(['one', 'two']);
  });

  it('never lists . and .., and knows the parent of a folder; the root is its own', async () => {
    mkdirSync(host('a', 'b'), { recursive: true });
    const tree = await store.open();
    expect((await listAll(tree, tree.root)).map(({ name }) => name)).toEqual(['a']);
    const b = await find(tree, 'a', 'b');
    const up = async (from: bigint): Promise<bigint | undefined> =>
      (await tree.lookup(from, '..' as Name, unhurried)).attributes?.inode;
    expect(await up(b.inode)).toBe((await find(tree, 'a')).inode);
    expect(await up(tree.root)).toBe(tree.root);
  });

  it('keeps the way to what is known, and drops the rest when it is forgotten', async () => {
    mkdirSync(host('a', 'b'), { recursive: true });
    writeFileSync(host('a', 'b', 'file'), 'content');
    const tree = await store.open();
    const a = await find(tree, 'a');
    const b = await find(tree, 'a', 'b');
    const file = await find(tree, 'a', 'b', 'file');
    tree.forget?.(b.inode);
    tree.forget?.(a.inode);
    tree.forget?.(123n);
    expect((await contentOf(tree, file)).toString()).toBe('content');
  });

  it('follows no link out, whatever it is called', async () => {
    writeFileSync(join(store.path, 'secret'), 'secret');
    mkdirSync(join(store.path, 'outside'));
    writeFileSync(join(store.path, 'outside', 'secret'), 'secret');
    symlinkSync('../outside', host('folder'));
    symlinkSync('../secret', host('file'));
    const tree = await store.open();
    const folder = await find(tree, 'folder');
    const file = await find(tree, 'file');
    expect([folder.type, file.type]).toEqual(['symlink', 'symlink']);
    await expect(tree.lookup(folder.inode, 'secret' as Name, unhurried)).rejects.toThrow();
    await expect(tree.list(folder.inode, 0n, unhurried)).rejects.toThrow();
    await expect(tree.open(file.inode, 'read', unhurried)).rejects.toMatchObject({ code: 'ELOOP' });
    for (const name of ['../secret', 'folder/secret', '.', '', 'a\0b', '/etc/passwd']) {
      await expect(tree.lookup(tree.root, name as Name, unhurried)).rejects.toMatchObject({ code: 'EINVAL' });
    }
  });

  it('does not follow a link that took the place of a folder', async () => {
    mkdirSync(join(store.path, 'outside'));
    writeFileSync(join(store.path, 'outside', 'file'), 'secret');
    mkdirSync(host('a', 'b'), { recursive: true });
    writeFileSync(host('a', 'b', 'file'), 'inside');
    const tree = await store.open();
    const file = await find(tree, 'a', 'b', 'file');
    const a = await find(tree, 'a');
    const b = await find(tree, 'a', 'b');
    renameSync(host('a'), host('moved'));
    symlinkSync('../outside', host('a'));
    const another = await store.open(); // has none of it open
    await expect(another.lookup(another.root, 'a' as Name, unhurried)).resolves.toMatchObject({
      attributes: { type: 'symlink' },
    });
    // Each of these may reach the moved folder, or say that it has gone; none may reach the link's.
    for (const attempt of [
      async () => (await contentOf(tree, file)).toString(),
      async () => (await tree.lookup(b.inode, 'file' as Name, unhurried)).attributes?.inode,
      async () => (await tree.lookup(a.inode, 'b' as Name, unhurried)).attributes?.inode,
    ]) {
      const outcome = await attempt().catch((error: unknown) => error);
      expect([{ code: 'ESTALE' }, 'inside', file.inode, b.inode]).toContainEqual(
        outcome instanceof Error && 'code' in outcome ? { code: outcome.code } : outcome,
      );
    }
    await expect(tree.attributes(a.inode, unhurried)).rejects.toMatchObject({ code: 'ESTALE' });
  });

  /** Looks into more folders than are kept open. */
  async function visitManyFolders(tree: Tree): Promise<void> {
    mkdirSync(host('many'));
    for (let each = 0; each < 100; each++) {
      mkdirSync(host('many', `${each}`));
      await tree.lookup((await find(tree, 'many', `${each}`)).inode, 'x' as Name, unhurried);
    }
  }

  it('follows no link on the way to a folder that it has closed meanwhile, not even to the same file', async () => {
    mkdirSync(host('a', 'b'), { recursive: true });
    writeFileSync(host('a', 'b', 'file'), 'inside');
    mkdirSync(join(store.path, 'outside'));
    const tree = await store.open();
    const file = await find(tree, 'a', 'b', 'file');
    await visitManyFolders(tree);
    expect((await contentOf(tree, file)).toString()).toBe('inside');
    for (let each = 0; each < 100; each++) await listAll(tree, (await find(tree, 'many', `${each}`)).inode);
    renameSync(host('a', 'b'), join(store.path, 'outside', 'b'));
    rmSync(host('a'), { recursive: true });
    symlinkSync('../outside', host('a'));
    for (const attempt of [
      () => tree.attributes(file.inode, unhurried),
      () => tree.open(file.inode, 'read', unhurried),
    ]) {
      await expect(attempt()).rejects.toMatchObject({ code: 'ESTALE' });
    }
  });

  it('finds what lies deeper than a path can be long when it has closed the way', async () => {
    let folder = store.rootfs;
    const path = Array.from({ length: 20 }, (_, level) => `${level}-${'d'.repeat(250)}`);
    const opened: number[] = [];
    for (const name of path) {
      mkdirSync(`${folder}/${name}`);
      const descriptor = openSync(`${folder}/${name}`, O_PATH);
      opened.push(descriptor);
      folder = `/proc/self/fd/${descriptor}`;
    }
    writeFileSync(`${folder}/bottom`, 'the bottom');
    for (const descriptor of opened) closeSync(descriptor);
    const tree = await store.open();
    const bottom = await find(tree, ...path, 'bottom');
    await visitManyFolders(tree);
    expect((await contentOf(tree, bottom)).toString()).toBe('the bottom');
  });

  it('does not take another file for the one that was found', async () => {
    writeFileSync(host('file'), 'found');
    writeFileSync(host('other'), 'another');
    const tree = await store.open();
    const { inode } = await find(tree, 'file');
    renameSync(host('other'), host('file'));
    for (const attempt of [
      () => tree.attributes(inode, unhurried),
      () => tree.open(inode, 'read', unhurried),
      () => tree.xattrs(inode, unhurried),
    ]) {
      await expect(attempt()).rejects.toMatchObject({ code: 'ESTALE' });
    }
    rmSync(host('file'));
    await expect(tree.attributes(inode, unhurried)).rejects.toMatchObject({ code: 'ESTALE' });
  });

  it('finds a hard link by the name that it was looked up by last', async () => {
    writeFileSync(host('first'), 'content');
    execFileSync('ln', [host('first'), host('second')]);
    const tree = await store.open();
    await find(tree, 'first');
    const second = await find(tree, 'second');
    rmSync(host('first'));
    expect((await contentOf(tree, second)).toString()).toBe('content');
  });

  it('gets into no circle where folders change places while they are known', async () => {
    mkdirSync(host('a', 'b'), { recursive: true });
    const tree = await store.open();
    await find(tree, 'a');
    const b = await find(tree, 'a', 'b');
    renameSync(host('a', 'b'), host('b'));
    renameSync(host('a'), host('b', 'a'));
    const outcome = await tree.lookup(b.inode, 'a' as Name, unhurried).catch((error: unknown) => error);
    expect(outcome).toMatchObject({ code: 'ESTALE' });
    expect((await find(tree, 'b', 'a')).type).toBe('directory');
  });

  it('opens no fifo, no device and no socket', async () => {
    makeNode(Buffer.from(host('fifo')), 'fifo');
    makeNode(Buffer.from(host('device')), 'character', 1, 3);
    makeNode(Buffer.from(host('socket')), 'socket');
    const tree = await store.open();
    for (const name of ['fifo', 'device', 'socket']) {
      const { inode } = await find(tree, name);
      await expect(tree.open(inode, 'read', unhurried)).rejects.toMatchObject({ code: 'ENXIO' });
      expect(await tree.xattrs(inode, unhurried)).toEqual([]);
    }
  });

  it('ends a wait when it is aborted', async () => {
    writeFileSync(host('file'), '');
    const tree = await store.open();
    const file = await find(tree, 'file');
    await expect(tree.list(tree.root, 0n, AbortSignal.abort())).rejects.toMatchObject({ name: 'AbortError' });
    await expect(tree.xattrs(file.inode, AbortSignal.abort())).rejects.toMatchObject({ name: 'AbortError' });
  });

  it('reads what is there of a file that shrank', async () => {
    writeFileSync(host('file'), 'x'.repeat(10_000));
    const tree = await store.open();
    const { inode } = await find(tree, 'file');
    const { handle } = await tree.open(inode, 'read', unhurried);
    truncateSync(host('file'), 5000);
    expect(await tree.read(handle, 0, Buffer.alloc(10_000), unhurried)).toBe(5000);
    await tree.release(handle);
  });

  it('leaves no descriptor open', async () => {
    makeOddities(store.rootfs);
    const before = readdirSync('/proc/self/fd').length;
    const folder = await StoreFolder.open(store.path);
    const tree = await openHostFolder(folder, rootfs);
    for await (const { attributes } of walk(tree)) {
      if (attributes.type === 'file') await tree.open(attributes.inode, 'read', unhurried);
      await tree.xattrs(attributes.inode, unhurried);
    }
    await tree.close();
    await tree.close();
    folder.close();
    await expect.poll(() => readdirSync('/proc/self/fd').length).toBeLessThanOrEqual(before);
  });

  it('numbers the files of a mounted file system apart from its own', async () => {
    mkdirSync(host('mnt'));
    const mount = (...args: string[]): unknown => execFileSync('mount', args);
    mount('-t', 'tmpfs', 'tmpfs', host('mnt'));
    try {
      writeFileSync(host('mnt', 'within'), 'mounted');
      const tree = await store.open();
      const mounted = await find(tree, 'mnt');
      const host64 = lstatSync(host('mnt'), { bigint: true }).ino;
      expect(mounted.inode).toBe((1n << 56n) | host64);
      const listed = (await listAll(tree, tree.root)).find(({ name }) => name === 'mnt');
      expect(listed?.inode).toBe(mounted.inode);
      expect((await contentOf(tree, await find(tree, 'mnt', 'within'))).toString()).toBe('mounted');
      expect((await tree.lookup(mounted.inode, '..' as Name, unhurried)).attributes?.inode).toBe(tree.root);
      await tree.close();
    } finally {
      execFileSync('umount', ['-l', host('mnt')]);
    }
  });

  it('shows the ids that the container sees, in owners, ACLs and capabilities', async () => {
    makeOddities(store.rootfs);
    const map = [{ inside: 0, outside: 100_000, count: 65_536 }];
    const tree = await store.open({ ids: { users: map, groups: map } });
    expect(await find(tree, 'modes', 'owner-100000')).toMatchObject({ uid: 0, gid: 65534 });
    expect(await find(tree, 'modes', 'owner-165535')).toMatchObject({ uid: 65_535 });
    expect(await find(tree, 'modes', 'owner-1000')).toMatchObject({ uid: 65_534 });
    expect(await find(tree, 'modes', 'link-of-another')).toMatchObject({ uid: 1, gid: 2 });

    const acl = async (name: string, ...path: string[]) =>
      parsePosixAcl(await tree.xattr((await find(tree, ...path)).inode, nameFromText(name), unhurried));
    const access = await acl('system.posix_acl_access', 'acls', 'file');
    expect(access.filter(({ kind }) => kind === 'user')).toEqual([
      { kind: 'user', id: 65534, permissions: 6 },
      { kind: 'user', id: 0, permissions: 4 },
      { kind: 'user', id: 65534, permissions: 1 },
    ]);
    expect(access.filter(({ kind }) => kind === 'group')).toContainEqual({
      kind: 'group',
      id: 33,
      permissions: 5,
    });
    const byDefault = await acl('system.posix_acl_default', 'acls');
    expect(byDefault).toContainEqual({ kind: 'user', id: 42, permissions: 7 });

    const capability = async (name: string) => {
      const { inode } = await find(tree, 'capabilities', name);
      return parseFileCapability(await tree.xattr(inode, nameFromText('security.capability'), unhurried));
    };
    const bits = { effective: true, permitted: 0x2400n, inheritable: 0n };
    expect(await capability('revision-2')).toEqual({ revision: 2, ...bits });
    expect(await capability('of-container-root')).toEqual({ revision: 2, ...bits });
    expect(await capability('of-nested-root')).toEqual({ revision: 3, ...bits, root: 65_000 });
    expect(await capability('of-stranger')).toEqual({ revision: 3, ...bits, root: 65_534 });
  });
});
