import type { Name } from '../../../src/name.js';
import { bytesContent, MemoryTree } from '../memory-tree.js';
import type { TreeUnderTest } from './tree-under-test.js';

/** Everything may be cached for ever, until the tree says that it has changed. */
export function changingTree(): TreeUnderTest {
  const tree = new MemoryTree();
  const file = tree.link(tree.root, 'file', tree.addFile('before'));
  tree.link(tree.root, 'latest', tree.addSymlink('monday'));
  for (const day of ['monday', 'tuesday']) {
    const folder = tree.link(tree.root, day, tree.addFolder());
    tree.link(folder, 'name', tree.addFile(day));
  }
  return {
    tree,
    commands: {
      write: (text) => {
        const bytes = Buffer.from(String(text));
        tree.node(file).content = bytesContent(bytes);
        tree.describe(file, { size: bytes.length, allocated: bytes.length });
        tree.tell({ kind: 'inode', inode: file });
        return null;
      },
      point: (target) => {
        tree.unlink(tree.root, 'latest');
        tree.link(tree.root, 'latest', tree.addSymlink(String(target)));
        tree.tell({ kind: 'entry', folder: tree.root, name: 'latest' as Name });
        return null;
      },
      add: (name) => {
        tree.link(tree.root, String(name), tree.addFile('new'));
        tree.tell({ kind: 'entry', folder: tree.root, name: String(name) as Name });
        return null;
      },
      remove: (name) => {
        tree.unlink(tree.root, String(name));
        tree.tell({ kind: 'entry', folder: tree.root, name: String(name) as Name });
        return null;
      },
    },
  };
}
