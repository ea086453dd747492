import { nameFromText } from '../../../src/name.js';
import { MemoryTree } from '../memory-tree.js';
import type { TreeUnderTest } from './tree-under-test.js';

/** XATTR_SIZE_MAX of linux/limits.h. */
export const largest = 65536;

const binary = Buffer.from(Array.from({ length: 256 }, (_, index) => index));

/** CAP_NET_RAW, permitted and effective: struct vfs_cap_data of linux/capability.h, revision 2. The kernel checks it. */
const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');

/** The attributes of the files, by file and name. */
export const attributed: Readonly<Record<string, Readonly<Record<string, Buffer>>>> = {
  none: {},
  one: { 'user.one': Buffer.from('value') },
  empty: { 'user.empty': Buffer.alloc(0) },
  binary: { 'user.binary': binary },
  large: { 'user.large': Buffer.alloc(largest, binary) },
  many: Object.fromEntries(
    Array.from({ length: 200 }, (_, index) => [`user.${'n'.repeat(200)}-${index}`, Buffer.from(`${index}`)]),
  ),
  trusted: { 'trusted.overlay.opaque': Buffer.from('y'), 'security.capability': capability },
};

/** Extended attributes, up to the largest that Linux knows. */
export function xattrsTree(): TreeUnderTest {
  const tree = new MemoryTree();
  for (const [file, attributes] of Object.entries(attributed)) {
    const inode = tree.link(tree.root, file, tree.addFile(file));
    for (const [name, value] of Object.entries(attributes)) {
      tree.node(inode).xattrs.set(nameFromText(name), value);
    }
  }
  return { tree };
}
