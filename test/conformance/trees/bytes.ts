import type { Name } from '../../../src/name.js';
import type { Inode } from '../../../src/tree/attributes.js';
import type { Access, Opened } from '../../../src/tree/tree.js';
import { type Content, MemoryTree } from '../memory-tree.js';
import { fillPattern } from '../pattern.js';
import type { TreeUnderTest } from './tree-under-test.js';

const MiB = 2 ** 20;

/** Sizes of the files that hold the pattern of ../pattern.ts, by name. Odd, so that no file ends where a block does. */
export const patterned = {
  keep: 8 * MiB + 5,
  refresh: 8 * MiB + 5,
  direct: 8 * MiB + 5,
  'large-keep': 5 * 1024 * MiB + 3,
  'large-direct': 5 * 1024 * MiB + 3,
} as const;

/** Sizes of the files in `at-hand/`, which are small and offered whole when they are opened. */
export const atHand = [1, 100, 4095, 4096, 4097, 10_000, 65_535, 65_536] as const;

/** The file `sparse`: its size, and where it holds the pattern; all else is a hole. */
export const sparse = {
  size: 64 * MiB,
  data: [
    [MiB, MiB + 65536],
    [32 * MiB, 32 * MiB + 4096],
    [48 * MiB, 48 * MiB + 131072],
  ],
} as const;

const patternContent: Content = {
  read(offset, target) {
    fillPattern(target, offset);
    return target.length;
  },
};

const sparseContent: Content = {
  data: sparse.data,
  read(offset, target) {
    target.fill(0);
    for (const [begin, end] of sparse.data) {
      const from = Math.max(begin, offset);
      const to = Math.min(end, offset + target.length);
      if (from < to) fillPattern(target.subarray(from - offset, to - offset), from);
    }
    return target.length;
  },
};

/** A source that gives fewer bytes than it said it had. */
const shortContent: Content = {
  read(offset, target) {
    fillPattern(target, offset);
    return Math.floor(target.length / 2);
  },
};

/** What has reached the tree of one file. */
export interface Seen {
  readonly reads: number;
  readonly bytes: number;
  readonly largest: number;
}

const unread: Seen = { reads: 0, bytes: 0, largest: 0 };

/** Counts the reads that reach it, file by file: the kernel reads ahead in one while another is looked at. */
class Counted extends MemoryTree {
  readonly #seen = new Map<Inode, Seen>();
  readonly atHand = new Set<Inode>();

  override async open(inode: Inode, access: Access, signal: AbortSignal): Promise<Opened> {
    const opened = await super.open(inode, access, signal);
    const { size } = await this.attributes(inode, signal);
    return this.atHand.has(inode) ? { ...opened, whole: size } : opened;
  }

  override async read(
    handle: number,
    offset: number,
    target: Uint8Array,
    signal: AbortSignal,
  ): Promise<number> {
    const length = await super.read(handle, offset, target, signal);
    const { inode } = this.opening(handle).attributes;
    const { reads, bytes, largest } = this.seen(inode);
    this.#seen.set(inode, {
      reads: reads + 1,
      bytes: bytes + length,
      largest: Math.max(largest, length),
    });
    return length;
  }

  seen(inode: Inode): Seen {
    return this.#seen.get(inode) ?? unread;
  }

  beginAnew(): void {
    this.#seen.clear();
  }
}

/** Files whose bytes are known: cached in each way, large, sparse, and one whose source reads short. */
export function bytesTree(): TreeUnderTest {
  const tree = new Counted();
  const file = (name: string, size: number, cache: 'keep' | 'refresh' | 'direct', content: Content): Inode =>
    tree.link(tree.root, name, tree.addFile(content, { size, allocated: size }, cache));
  for (const [name, size] of Object.entries(patterned)) {
    const cache = name.endsWith('direct') ? 'direct' : name === 'refresh' ? 'refresh' : 'keep';
    file(name, size, cache, patternContent);
  }
  const once = tree.link(tree.root, 'once', tree.addFolder());
  for (const name of ['cached', 'mapped']) {
    tree.link(once, name, tree.addFile(patternContent, { size: MiB, allocated: MiB }, 'keep'));
  }
  const small = tree.link(tree.root, 'at-hand', tree.addFolder());
  for (const size of atHand) {
    const inode = tree.addFile(patternContent, { size, allocated: size }, 'keep');
    tree.atHand.add(tree.link(small, String(size), inode));
  }
  const lying = tree.link(
    tree.root,
    'short-at-hand',
    tree.addFile(shortContent, { size: 4096, allocated: 4096 }, 'keep'),
  );
  tree.atHand.add(lying);
  file('short-keep', MiB, 'keep', shortContent);
  file('short-direct', MiB, 'direct', shortContent);
  file('empty', 0, 'keep', patternContent);
  for (const cache of ['keep', 'direct'] as const) {
    const inode = file(`sparse-${cache}`, sparse.size, cache, sparseContent);
    const allocated = sparse.data.reduce((sum, [begin, end]) => sum + end - begin, 0);
    tree.describe(inode, { allocated });
  }
  file('all-hole', MiB, 'keep', { data: [], read: (_offset, target) => target.fill(0).length });
  const named = (path: string): Inode => {
    const inode = path
      .split('/')
      .reduce<Inode | undefined>(
        (folder, name) => folder && tree.entries(folder).inode(name as Name),
        tree.root,
      );
    if (inode === undefined) throw new RangeError(`there is no ${path}`);
    return inode;
  };
  return {
    tree,
    commands: {
      seen: (path) => ({ ...tree.seen(named(String(path))) }),
      reset: () => {
        tree.beginAnew();
        return null;
      },
      opened: () => tree.opened,
    },
  };
}
