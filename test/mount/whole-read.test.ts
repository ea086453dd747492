import { describe, expect, it } from 'vitest';
import { readWhole } from '../../mount/whole-read.js';
import { openLayout } from '../../src/layout/layout.js';
import { silent } from '../../src/log.js';
import type { Tree } from '../../src/tree/tree.js';

/** A tree whose only file is said to have 100 bytes, of which an open one gives these many. */
function treeGiving(bytes: number): Tree {
  const tree = openLayout({ stores: [], log: silent });
  const whole = tree.attributes.bind(tree);
  tree.attributes = async (inode, signal) => ({ ...(await whole(inode, signal)), type: 'file', size: 100 });
  tree.read = async (_handle, offset) => Math.max(0, bytes - offset);
  return tree;
}

const read = (tree: Tree, offset: number, size?: number): Promise<number> => {
  const wanted = { tree, inode: tree.root, handle: 1, size, offset, path: () => '/file' };
  return readWhole(wanted, Buffer.alloc(4096), new AbortController().signal);
};

describe('a read that gives fewer bytes than were asked for', () => {
  it('is the end of a file that ends there', async () => {
    expect(await read(treeGiving(100), 0)).toBe(100);
    expect(await read(treeGiving(100), 100)).toBe(0);
  });

  it('is EIO before the end: a reader would take it for that', async () => {
    await expect(read(treeGiving(60), 0)).rejects.toMatchObject({ code: 'EIO' });
    await expect(read(treeGiving(60), 0, 80)).rejects.toMatchObject({ code: 'EIO' });
  });

  it('is the end of a file that was shorter when it was opened', async () => {
    expect(await read(treeGiving(60), 0, 60)).toBe(60);
    expect(await read(treeGiving(60), 60, 60)).toBe(0);
  });
});
