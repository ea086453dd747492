import { describe, expect, it } from 'vitest';
import type { Name } from '../../../src/name.js';
import { assembleTree, type MountPoint } from '../../../src/tree/assembled-tree.js';
import type { Attributes } from '../../../src/tree/attributes.js';
import type { Tree } from '../../../src/tree/tree.js';
import { MemoryTree } from '../../conformance/memory-tree.js';

const { signal } = new AbortController();
const names = (path: string): Name[] => path.split('/') as Name[];

/** A tree with /srv/a, /srv/b, /srv/file, and one with /inner. */
function trees(): { base: MemoryTree; other: MemoryTree } {
  const base = new MemoryTree();
  const srv = base.addFolder();
  base.link(base.root, 'srv', srv);
  for (const name of ['a', 'b']) base.link(srv, name, base.addFolder());
  base.link(srv, 'file', base.addFile('text'));
  const other = new MemoryTree();
  other.link(other.root, 'inner', other.addFile('inner'));
  return { base, other };
}

async function found(tree: Tree, path: string): Promise<Attributes | undefined> {
  let folder = tree.root;
  let attributes: Attributes | undefined;
  for (const name of names(path)) {
    ({ attributes } = await tree.lookup(folder, name, signal));
    if (!attributes) return undefined;
    folder = attributes.inode;
  }
  return attributes;
}

async function listed(tree: Tree, path: string): Promise<string[]> {
  const folder = (await found(tree, path))?.inode ?? 0n;
  const seen: string[] = [];
  for (let after = 0n; ; ) {
    const entries = await tree.list(folder, after, signal);
    const last = entries.at(-1);
    if (!last) return seen;
    seen.push(...entries.map(({ name }) => name));
    after = last.cookie;
  }
}

const nowhere = (): void => expect.unreachable('a place is missing');

describe('a tree that others are mounted in', () => {
  it('has them upon their places, and all else as it is', async () => {
    const { base, other } = trees();
    const mount: MountPoint = { path: names('srv/b'), open: async () => other };
    const tree = await assembleTree(base, [mount], nowhere, signal);
    expect(await listed(tree, 'srv')).toEqual(['a', 'b', 'file']);
    expect((await found(tree, 'srv/a'))?.graft).toBeUndefined();
    const place = await found(tree, 'srv/b');
    expect(place).toMatchObject({ type: 'directory', graft: true });
    const { tree: upon, release } = (await tree.graft?.(place?.inode ?? 0n, signal)) ?? {};
    expect(upon).toBe(other);
    const above = await tree.lookup(place?.inode ?? 0n, '..' as Name, signal);
    expect(above.attributes?.inode).toBe((await found(tree, 'srv'))?.inode);
    release?.();
    await tree.close();
  });

  it('does not show the names of what is left out, whichever entries a listing gives at once', async () => {
    const { base } = trees();
    const tree = await assembleTree(
      base,
      ['srv/a', 'srv/b'].map((path) => ({ path: names(path), open: undefined })),
      nowhere,
      signal,
    );
    const list = base.list.bind(base);
    base.list = async (folder, after, waiting) => (await list(folder, after, waiting)).slice(0, 1);
    expect(await listed(tree, 'srv')).toEqual(['file']);
    expect(await found(tree, 'srv/a')).toBeUndefined();
    await tree.close();
  });

  it('tells of places that are not there, and follows no link to one', async () => {
    const { base, other } = trees();
    base.link(base.root, 'link', base.addSymlink('srv'));
    const missing: string[] = [];
    const open = async (): Promise<Tree> => other;
    const paths = ['srv/none', 'none/a', 'link/a', 'srv/file', 'link'];
    const tree = await assembleTree(
      base,
      paths.map((path) => ({ path: names(path), open })),
      (path) => missing.push(path.join('/')),
      signal,
    );
    expect(missing).toEqual(paths);
    expect(await listed(tree, 'srv')).toEqual(['a', 'b', 'file']);
    await tree.close();
  });

  it('closes what is mounted when it is let go, and with itself', async () => {
    const { base } = trees();
    const closed: string[] = [];
    const open = (name: string) => async (): Promise<Tree> =>
      Object.assign(new MemoryTree(), { close: async () => void closed.push(name) });
    Object.assign(base, { close: async () => void closed.push('base') });
    const mounts = ['a', 'b'].map((name) => ({ path: names(`srv/${name}`), open: open(name) }));
    const tree = await assembleTree(base, mounts, nowhere, signal);
    for (const { path } of mounts) {
      const place = await found(tree, path.join('/'));
      const graft = await tree.graft?.(place?.inode ?? 0n, signal);
      if (path.at(-1) === 'a') graft?.release();
    }
    expect(closed).toEqual(['a']);
    await tree.close();
    expect(closed.sort()).toEqual(['a', 'b', 'base']);
  });
});
