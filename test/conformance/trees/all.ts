import { StillError } from '../../../src/errors.js';
import type { Inode } from '../../../src/tree/attributes.js';
import type { Graft, Tree } from '../../../src/tree/tree.js';
import { MemoryTree } from '../memory-tree.js';
import { attributesTree } from './attributes.js';
import { brokenTree } from './broken.js';
import { bytesTree } from './bytes.js';
import { changingTree } from './changing.js';
import { errorsTree } from './errors.js';
import { forgettingTree } from './forgetting.js';
import { hugeTree } from './huge.js';
import { namesTree } from './names.js';
import { passedTree } from './passed.js';
import { slowTree } from './slow.js';
import type { TreeUnderTest } from './tree-under-test.js';
import { twinTree } from './twin.js';
import { writableTree } from './writable.js';
import { xattrsTree } from './xattrs.js';

/** The trees that the suite is run against, by name. */
export const trees = {
  attributes: attributesTree,
  broken: brokenTree,
  bytes: bytesTree,
  changing: changingTree,
  errors: errorsTree,
  forgetting: forgettingTree,
  huge: hugeTree,
  names: namesTree,
  passed: passedTree,
  slow: slowTree,
  'twin-a': () => twinTree('a'),
  'twin-b': () => twinTree('b'),
  writable: writableTree,
  xattrs: xattrsTree,
} as const satisfies Readonly<Record<string, () => TreeUnderTest>>;

export type TreeName = keyof typeof trees;

export function isTreeName(name: unknown): name is TreeName {
  return typeof name === 'string' && Object.hasOwn(trees, name);
}

/** A root upon whose folders other trees stand, opened when they are first needed and kept. */
export class Grafted extends MemoryTree {
  readonly #open: (name: TreeName) => Promise<Tree>;
  readonly #folders = new Map<Inode, TreeName>();
  /** How many grafts are in use, by name. */
  readonly uses = new Map<TreeName, number>();

  constructor(open: (name: TreeName) => Promise<Tree>) {
    super();
    this.#open = open;
    for (const name of Object.keys(trees)) {
      if (!isTreeName(name)) continue;
      this.#folders.set(this.link(this.root, name, this.addFolder({ graft: true })), name);
    }
  }

  async graft(folder: Inode): Promise<Graft> {
    const name = this.#folders.get(folder);
    if (!name) throw new StillError('EINVAL', `nothing stands upon inode ${folder}`);
    const tree = await this.#open(name);
    this.uses.set(name, (this.uses.get(name) ?? 0) + 1);
    return { tree, release: () => this.uses.set(name, (this.uses.get(name) ?? 0) - 1) };
  }
}
