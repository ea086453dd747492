import { MemoryTree } from '../memory-tree.js';
import type { TreeUnderTest } from './tree-under-test.js';

/** One of two trees whose inodes have the same numbers, with different files behind them, two of them hard-linked. */
export function twinTree(which: 'a' | 'b'): TreeUnderTest {
  const tree = new MemoryTree(2n);
  const folder = tree.link(tree.root, 'folder', tree.addFolder());
  for (let index = 0; index < 20; index++) {
    tree.link(folder, `file-${index}`, tree.addFile(`twin ${which}, file ${index}`, { links: 1 }));
  }
  const shared = tree.addFile(`twin ${which}, hard link`, { links: 2 });
  tree.link(folder, 'hard-link-1', shared);
  tree.link(folder, 'hard-link-2', shared);
  return { tree };
}
