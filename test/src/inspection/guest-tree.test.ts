import { describe, expect, it } from 'vitest';
import type { FoundVolume } from '../../../src/inspection/found-volume.js';
import { systemTree, volumesTree } from '../../../src/inspection/guest-tree.js';
import type { Name } from '../../../src/name.js';
import { epoch } from '../../../src/time.js';
import type { Tree } from '../../../src/tree/tree.js';
import { MemoryTree } from '../../conformance/memory-tree.js';

const { signal } = new AbortController();
const look = { uid: 0, gid: 0, time: epoch };
const names = (path: string): Name[] => path.split('/') as Name[];

function volume(path: string): FoundVolume {
  return { path: names(path), size: 1, content: { kind: 'file system', facts: { kind: 'ext4' } } };
}

/** A tree with a folder at a path. */
function treeWith(path: string): MemoryTree {
  const tree = new MemoryTree();
  let folder = tree.root;
  for (const name of path.split('/')) {
    const made = tree.addFolder();
    tree.link(folder, name, made);
    folder = made;
  }
  return tree;
}

/** Walks to a path as a mount does: through grafts. */
async function walk(tree: Tree, path: string): Promise<Tree | undefined> {
  let [at, folder] = [tree, tree.root];
  for (const name of names(path)) {
    const { attributes } = await at.lookup(folder, name, signal);
    if (!attributes) return undefined;
    folder = attributes.inode;
    if (!attributes.graft || !at.graft) continue;
    at = (await at.graft(folder, signal)).tree;
    folder = at.root;
  }
  return at;
}

async function listed(tree: Tree, inode = tree.root): Promise<string[]> {
  return (await tree.list(inode, 0n, signal)).map(({ name }) => name);
}

describe('files/', () => {
  it('has each volume that is read in its place', async () => {
    const volumes = [
      volume('vda/part/1'),
      volume('lvm/vg/root'),
      {
        ...volume('vda/part/2'),
        content: { kind: 'other', type: 'swap', description: 'swap space' } as const,
      },
    ];
    const opened: string[] = [];
    const tree = volumesTree(
      volumes,
      async ({ path }) => {
        opened.push(path.join('/'));
        return treeWith('inside');
      },
      look,
    );
    expect(await listed(tree)).toEqual(['vda', 'lvm']);
    expect(await walk(tree, 'vda/part/2')).toBeUndefined();
    expect(opened).toEqual([]);
    expect(await walk(tree, 'lvm/vg/root/inside')).toBeDefined();
    expect(opened).toEqual(['lvm/vg/root']);
  });
});

describe('rootfs/', () => {
  it('has each file system upon its place, also within another', async () => {
    const volumes = [volume('a'), volume('b'), volume('c')];
    const trees = [treeWith('home'), treeWith('alice/music'), treeWith('album')];
    const tree = await systemTree(
      {
        system: {
          kind: 'unix',
          root: 0,
          mounts: [
            { path: names('home/alice/music'), volume: 2 },
            { path: names('home'), volume: 1 },
          ],
        },
        volumes,
        open: async (wanted) => trees[volumes.indexOf(wanted)] ?? expect.unreachable(),
        look,
        problem: expect.unreachable,
      },
      signal,
    );
    expect(await walk(tree, 'home/alice/music/album')).toBe(trees[2]);
  });

  it('tells where there is nothing to mount upon', async () => {
    const problems: string[] = [];
    await systemTree(
      {
        system: { kind: 'unix', root: 0, mounts: [{ path: names('not/there'), volume: 0 }] },
        volumes: [volume('a')],
        open: async () => treeWith('home'),
        look,
        problem: (sentence) => void problems.push(sentence),
      },
      signal,
    );
    expect(problems).toEqual([expect.stringMatching(/^\/not\/there of the guest is not mounted/)]);
  });

  it('is not there where no system is', async () => {
    const nothing = systemTree(
      {
        system: { kind: 'none' },
        volumes: [],
        open: async () => expect.unreachable(),
        look,
        problem: expect.unreachable,
      },
      signal,
    );
    await expect(nothing).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
