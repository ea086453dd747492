import type { Attributes } from '../../../src/tree/attributes.js';
import type { Capacity } from '../../../src/tree/tree.js';
import { MemoryTree } from '../memory-tree.js';
import type { TreeUnderTest } from './tree-under-test.js';

/** What statfs(2) shall tell. */
export const capacity: Capacity = { total: 10 * 2 ** 40, free: 3 * 2 ** 40, files: 123_456 };

/** What stat(2) shall tell, by name. */
export const described = {
  plain: { permissions: 0o644, uid: 1234, gid: 5678 },
  'set-user-id': { permissions: 0o4755 },
  'set-group-id': { permissions: 0o2755 },
  'no-permissions': { permissions: 0 },
  'large-ids': { uid: 4_294_967_294, gid: 2_147_483_648 },
  block: { type: 'block', device: { major: 8, minor: 17 } },
  character: { type: 'character', device: { major: 1, minor: 3 } },
  'large-device': { type: 'block', device: { major: 4095, minor: 1_048_575 } },
  fifo: { type: 'fifo' },
  socket: { type: 'socket' },
  'nanosecond-times': {
    accessed: { seconds: 1_600_000_000, nanoseconds: 1 },
    modified: { seconds: 1_700_000_000, nanoseconds: 123_456_789 },
    changed: { seconds: 1_700_000_001, nanoseconds: 999_999_999 },
  },
  'before-1970': {
    accessed: { seconds: -1, nanoseconds: 999_999_999 },
    modified: { seconds: -2_000_000_000, nanoseconds: 500_000_000 },
    changed: { seconds: -86_400, nanoseconds: 0 },
  },
  'after-2106': { modified: { seconds: 7_258_118_400, nanoseconds: 7 } },
  'beyond-4-gib': { size: 2 ** 40 + 7, allocated: 0 },
  thin: { size: 2 ** 30, allocated: 4097 },
  private: { permissions: 0o600 },
} as const satisfies Readonly<Record<string, Partial<Attributes>>>;

export const stickyFolder = { permissions: 0o1777 };
/** How many folders lie in each other in `deep`, each of this name; then comes a file `leaf`. */
export const depth = 900;
export const deepName = 'deep';

class Described extends MemoryTree {
  async capacity(): Promise<Capacity> {
    return capacity;
  }
}

/** Files as stat(2) tells them apart. */
export function attributesTree(): TreeUnderTest {
  const tree = new Described();
  for (const [name, attributes] of Object.entries(described)) {
    const inode =
      'type' in attributes
        ? tree.addNode(attributes.type, attributes)
        : tree.addFile({ read: (_offset, target) => target.fill(0).length }, attributes);
    tree.link(tree.root, name, inode);
  }
  tree.link(tree.root, 'sticky', tree.addFolder(stickyFolder));
  tree.link(tree.root, 'not-for-others', tree.addFolder({ permissions: 0o700 }));

  const shared = tree.addFile('one file, two names', { links: 2 });
  tree.link(tree.root, 'hard-link-1', shared);
  tree.link(tree.root, 'hard-link-2', shared);

  let folder = tree.root;
  for (let level = 0; level < depth; level++) folder = tree.link(folder, deepName, tree.addFolder());
  tree.link(folder, 'leaf', tree.addFile('deep down'));
  return { tree };
}
