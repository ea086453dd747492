import type { Time } from '../../../src/time.js';
import type { Inode } from '../../../src/tree/attributes.js';
import { MemoryTree } from '../../conformance/memory-tree.js';

/** How large the sparse file is, and where its one piece of data lies: far beyond what 32 bits can say. */
export const sparse = { size: 6e12, data: 5e12 + 12_345, bytes: 'here' };

export const moments: Readonly<Record<string, Time>> = {
  'to-the-millisecond': { seconds: 1_700_000_000, nanoseconds: 123_000_000 },
  'to-the-nanosecond': { seconds: 1_700_000_000, nanoseconds: 123_456_789 },
  'after-2106': { seconds: 2 ** 32 + 5, nanoseconds: 0 },
  'before-1970': { seconds: -1_000, nanoseconds: 0 },
};

/** Holds a value of the largest size that Linux allows. */
export const xattr = { name: 'user.large', bytes: 65_536 };

/** The test's trees, which the child process serves. */
export const trees: Readonly<Record<string, () => MemoryTree>> = {
  everything() {
    const tree = new ForgettingTree();
    const folder = tree.link(tree.root, 'folder', tree.addFolder());
    tree.link(folder, 'hello', tree.addFile('hello, world\n'));
    const link = tree.addFile('two names', { links: 2 });
    tree.link(folder, 'first', link);
    tree.link(folder, 'second', link);
    tree.link(folder, 'null', tree.addNode('character', { device: { major: 1, minor: 3 } }));
    tree.link(folder, 'large-device', tree.addNode('block', { device: { major: 259, minor: 0x12345 } }));
    tree.link(folder, 'target', tree.addSymlink('hello'));
    tree.link(folder, 'bad-target', tree.addSymlink(Buffer.from('\xff\xfe', 'latin1')));
    for (const name of ['good', 'b\xffd', 'gr\xc3\xbcn', 'damaged \xef\xbf\xbd']) {
      tree.link(folder, name, tree.addFile(name));
    }
    const times = tree.link(tree.root, 'times', tree.addFolder());
    for (const [name, time] of Object.entries(moments)) {
      tree.link(times, name, tree.addFile('', { accessed: time, modified: time, changed: time }));
    }
    const attributed = tree.link(tree.root, 'attributed', tree.addFile(''));
    tree.node(attributed).xattrs.set(xattr.name as never, Buffer.alloc(xattr.bytes, 'x'));
    tree.node(attributed).xattrs.set('user.empty' as never, new Uint8Array());
    tree.node(attributed).xattrs.set('user.\xff' as never, Buffer.from('unseen'));
    tree.link(
      tree.root,
      'sparse',
      tree.addFile(
        {
          read(offset, target) {
            target.fill(0);
            const begin = sparse.data - offset;
            for (const [index, byte] of Buffer.from(sparse.bytes).entries()) {
              if (begin + index >= 0 && begin + index < target.length) target[begin + index] = byte;
            }
            return target.length;
          },
        },
        { size: sparse.size, allocated: sparse.size },
      ),
    );
    tree.link(
      tree.root,
      'short',
      tree.addFile({ read: (_offset, target) => Math.min(target.length, 10) }, { size: 4096 }),
    );
    const many = tree.link(tree.root, 'many', tree.addFolder());
    for (let index = 0; index < 3000; index++) tree.link(many, `file-${index}`, tree.addFile(''));
    return tree;
  },

  wide() {
    const tree = new MemoryTree();
    const folder = tree.link(tree.root, 'folder', tree.addFolder());
    for (let index = 0; index < 100_000; index++) tree.link(folder, `file-${index}`, tree.addFile(''));
    return tree;
  },

  /** Its file answers no read, and heeds no signal. */
  hung() {
    const tree = new MemoryTree();
    tree.link(
      tree.root,
      'hung',
      tree.addFile({ read: () => new Promise<number>(() => undefined) }, { size: 4096 }),
    );
    tree.link(tree.root, 'well', tree.addFile('well'));
    return tree;
  },
};

/** Counts how often it is told that an inode is not referred to any more. */
export class ForgettingTree extends MemoryTree {
  forgotten = 0;

  forget(_inode: Inode): void {
    this.forgotten++;
  }
}
