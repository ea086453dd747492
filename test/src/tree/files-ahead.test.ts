import { describe, expect, it } from 'vitest';
import { StillError } from '../../../src/errors.js';
import type { Name } from '../../../src/name.js';
import type { Inode } from '../../../src/tree/attributes.js';
import { parseFiles } from '../../../src/tree/port/ahead/files-ahead.js';
import type { Access, Opened, Tree } from '../../../src/tree/tree.js';
import { MemoryTree } from '../../conformance/memory-tree.js';
import { type Behind, behindPort, unchanging } from './behind-port.js';

const never = new AbortController().signal;

const contentOf = (folder: number, file: number): string => `content ${folder}/${file} `.repeat(file % 40);

class Counted extends MemoryTree {
  readonly broken = new Set<Inode>();

  override open(inode: Inode, access: Access, signal: AbortSignal): Promise<Opened> {
    if (this.broken.has(inode)) throw new StillError('EIO', `inode ${inode} is damaged`);
    return super.open(inode, access, signal);
  }
}

interface Folders {
  readonly tree: Counted;
  readonly folders: ReadonlyArray<{ readonly inode: Inode; readonly files: readonly Inode[] }>;
}

function folders(count: number, files: number): Folders {
  const tree = new Counted();
  const made = Array.from({ length: count }, (_, folder) => {
    const inode = tree.link(tree.root, `folder-${folder}`, tree.addFolder());
    const inodes = Array.from({ length: files }, (_, file) =>
      tree.link(inode, `file-${file}`, tree.addFile(contentOf(folder, file))),
    );
    return { inode, files: inodes };
  });
  return { tree, folders: made };
}

async function listAll(tree: Tree, folder: Inode): Promise<void> {
  for (let after = 0n; ; ) {
    const last = (await tree.list(folder, after, never)).at(-1);
    if (!last) return;
    after = last.cookie;
  }
}

/** As a program does: some time passes between two files. */
async function content(tree: Tree, inode: Inode): Promise<string> {
  const { handle } = await tree.open(inode, 'read', never);
  const target = Buffer.alloc(10_000);
  const length = await tree.read(handle, 0, target, never).finally(() => tree.release(handle));
  await new Promise((resolve) => setImmediate(resolve));
  return target.toString('utf8', 0, length);
}

async function readFolders({ folders }: Folders, tree: Tree): Promise<void> {
  for (const [folder, { inode, files }] of folders.entries()) {
    await listAll(tree, inode);
    for (const [file, each] of files.entries()) {
      expect(await content(tree, each)).toBe(contentOf(folder, file));
    }
  }
}

describe('files that are read in the order of their listing', () => {
  it('come before they are asked for, each with its own content', async () => {
    const made = folders(1, 1000);
    const { tree, asked } = await behindPort(unchanging(made.tree));
    await readFolders(made, tree);
    expect(asked()).toBeLessThan(100);
    expect(made.tree.opened).toBe(0);
  });

  it('come from folder after folder, once more, too', async () => {
    const made = folders(100, 10);
    const { tree, asked } = await behindPort(unchanging(made.tree));
    await readFolders(made, tree);
    // One listing each, and about one file.
    expect(asked()).toBeLessThan(300);
    const first = asked();
    await readFolders(made, tree);
    expect(asked() - first).toBeLessThan(300);
  });

  it('do also where some are left out', async () => {
    const { tree: own, folders: made } = folders(1, 1000);
    const { tree, asked } = await behindPort(unchanging(own));
    const files = made[0]?.files ?? [];
    await listAll(tree, made[0]?.inode ?? 0n);
    for (const [at, file] of files.entries()) {
      if (at % 3 > 0) expect(await content(tree, file)).toBe(contentOf(0, at));
    }
    expect(asked()).toBeLessThan(100);
  });

  it('are damaged only where they are, and say so to who opens them', async () => {
    const { tree: own, folders: made } = folders(1, 200);
    const { tree } = await behindPort(unchanging(own));
    const files = made[0]?.files ?? [];
    for (const at of [50, 51, 120, 199]) own.broken.add(files[at] ?? 0n);
    const unreadable = {
      read: () => {
        throw new StillError('EIO', 'its bytes are damaged');
      },
    };
    for (const at of [77, 122]) own.node(files[at] ?? 0n).content = unreadable;
    await listAll(tree, made[0]?.inode ?? 0n);
    for (const [at, file] of files.entries()) {
      if (own.broken.has(file))
        await expect(content(tree, file)).rejects.toMatchObject({ code: 'EIO', message: /is damaged/ });
      else if (at === 77 || at === 122)
        await expect(content(tree, file)).rejects.toMatchObject({
          code: 'EIO',
          message: /bytes are damaged/,
        });
      else expect(await content(tree, file)).toBe(contentOf(0, at));
    }
    expect(own.opened).toBe(0);
  });

  it('are not handed out by a tree that has broken down, nor to who has given up', async () => {
    const { tree: own, folders: made } = folders(1, 200);
    const { tree, breakDown } = await behindPort(unchanging(own));
    const files = made[0]?.files ?? [];
    await listAll(tree, made[0]?.inode ?? 0n);
    for (const file of files.slice(0, 100)) await content(tree, file);
    const reason = new Error('given up');
    await expect(tree.open(files[100] ?? 0n, 'read', AbortSignal.abort(reason))).rejects.toBe(reason);
    breakDown();
    for (const file of files.slice(100)) {
      await expect(tree.open(file, 'read', never)).rejects.toMatchObject({ code: 'EIO' });
    }
    await expect(tree.xattrs(made[0]?.inode ?? 0n, never)).rejects.toMatchObject({ code: 'EIO' });
  });

  it('are asked for one by one where the tree tells of changes', async () => {
    const made = folders(1, 100);
    const { tree, asked } = await behindPort(made.tree);
    await readFolders(made, tree);
    expect(asked()).toBeGreaterThan(300);
  });

  it('are left where they are when they are large, or have holes', async () => {
    const own = new Counted();
    const inodes = Array.from({ length: 40 }, (_, at) =>
      own.link(
        own.root,
        `${at}`,
        at % 2 === 0
          ? own.addFile('small')
          : own.addFile(Buffer.alloc(at % 4 === 1 ? 200_000 : 4096), at % 4 === 1 ? {} : { allocated: 0 }),
      ),
    );
    const { tree, asked } = await behindPort(unchanging(own));
    await listAll(tree, own.root);
    const handles = [];
    for (const inode of inodes) {
      handles.push((await tree.open(inode, 'read', never)).handle);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(own.opened).toBe(20);
    // Each of these, the listing, and the first small ones.
    expect(asked()).toBeLessThan(30);
    for (const handle of handles) await tree.release(handle);
    expect(own.opened).toBe(0);
  });
});

it('nothing is read ahead for who only lists, or reads here and there', async () => {
  const { tree: own, folders: made } = folders(200, 20);
  let opened = 0;
  const counting = unchanging(own);
  const { tree } = await behindPort({
    ...counting,
    open: (...given) => {
      opened++;
      return counting.open(...given);
    },
  });
  for (const { inode } of made) await listAll(tree, inode);
  expect(opened).toBe(0);
  for (const { files } of made) await content(tree, files[(Number(files[0]) * 7) % 20] ?? 0n);
  expect(opened).toBeLessThan(250);
});

describe('files that are looked up here and there', () => {
  /** A tree whose opens are counted, which has a file that can't be read. */
  async function scattered(): Promise<Behind & { opened: () => number; readonly folders: Folders }> {
    const made = folders(200, 20);
    const own = unchanging(made.tree);
    let opened = 0;
    const open: Tree['open'] = (...given) => {
      opened++;
      return own.open(...given);
    };
    return { ...(await behindPort({ ...own, open })), opened: () => opened, folders: made };
  }

  const nameOf = (folder: number): Name => `file-${(folder * 7) % 20}` as Name;

  it('come with what they hold for who opens each', async () => {
    const { tree, asked, folders } = await scattered();
    for (const [folder, { inode }] of folders.folders.entries()) {
      const { attributes } = await tree.lookup(inode, nameOf(folder), never);
      expect(await content(tree, attributes?.inode ?? 0n)).toBe(contentOf(folder, (folder * 7) % 20));
    }
    // One look-up for each, and some opens before it is a habit.
    expect(asked()).toBeLessThan(210);
    expect(folders.tree.opened).toBe(0);
  });

  it('are not read for who only wants to know that they are there', async () => {
    const { tree, opened, folders } = await scattered();
    const [first, ...others] = folders.folders;
    for (let file = 0; file < 20; file++) {
      const { attributes } = await tree.lookup(first?.inode ?? 0n, `file-${file}` as Name, never);
      await content(tree, attributes?.inode ?? 0n);
    }
    const before = opened();
    for (const [folder, { inode }] of others.entries()) await tree.lookup(inode, nameOf(folder), never);
    // Until the habit is forgotten.
    expect(opened() - before).toBeLessThan(10);
  });

  it('are found also where they can not be read, and say so to who opens them', async () => {
    const { tree, folders } = await scattered();
    for (const [folder, { inode, files }] of folders.folders.entries()) {
      const file = (folder * 7) % 20;
      if (folder % 10 === 9) folders.tree.broken.add(files[file] ?? 0n);
      const { attributes } = await tree.lookup(inode, nameOf(folder), never);
      const reading = content(tree, attributes?.inode ?? 0n);
      if (folder % 10 === 9) await expect(reading).rejects.toMatchObject({ code: 'EIO' });
      else expect(await reading).toBe(contentOf(folder, file));
    }
  });
});

it('a file that is known to have no extended attributes is not asked for them', async () => {
  const own = new MemoryTree();
  own.link(own.root, 'bare', own.addFile('', { bare: true }));
  const dressed = own.link(own.root, 'dressed', own.addFile(''));
  own.node(dressed).xattrs.set('user.a' as Name, Buffer.from('value'));
  const { tree, asked } = await behindPort(unchanging(own));
  const found = async (name: string): Promise<Inode> =>
    (await tree.lookup(own.root, name as Name, never)).attributes?.inode ?? 0n;
  const [first, second] = [await found('bare'), await found('dressed')];
  const before = asked();
  expect(await tree.xattrs(first, never)).toEqual([]);
  await expect(tree.xattr(first, 'user.a' as Name, never)).rejects.toMatchObject({
    code: 'ENODATA',
  });
  expect(asked()).toBe(before);
  expect(await tree.xattrs(second, never)).toEqual(['user.a']);
  expect(Buffer.from(await tree.xattr(second, 'user.a' as Name, never)).toString()).toBe('value');
});

it('packed files are refused where they are not what they say', () => {
  const inodes = [1n, 2n, 3n];
  const ends = [3, 3, 8];
  const memory = new ArrayBuffer(8);
  expect(parseFiles({ inodes, ends, memory })).toEqual({ inodes, ends, memory });
  for (const wrong of [
    [3, 3],
    [3, 2, 8],
    [3, 3, 9],
    [-1, 3, 8],
    [3, 3, Number.NaN],
  ])
    expect(() => parseFiles({ inodes, ends: wrong, memory })).toThrow('malformed');
  expect(() => parseFiles({ inodes: [1, 2, 3], ends, memory })).toThrow('malformed');
  expect(() => parseFiles({ inodes, ends, memory: new Uint8Array(8) })).toThrow('malformed');
});
