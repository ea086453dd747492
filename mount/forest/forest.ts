import { StillError } from '../../src/errors.js';
import { longestName, longestShownName, type Name, nameToText } from '../../src/name.js';
import { SharedWait } from '../../src/shared-wait.js';
import type { Attributes, Inode } from '../../src/tree/attributes.js';
import type { Change, Graft, Tree } from '../../src/tree/tree.js';
import {
  inodeOf,
  type NodeNumber,
  nodeNumber,
  preferredTreeNumber,
  rootNumber,
  treeNumbers,
  treeOf,
} from './node-number.js';

/** A tree that has its place in the mount. */
export interface PlantedTree {
  readonly tree: Tree;
  readonly number: number;
  /** The folder that it stands upon; none for the tree of the mount's root. */
  readonly below: { readonly planted: PlantedTree; readonly folder: Inode } | undefined;
}

/** A node of the mount: a file in one of its trees. */
export interface Node {
  readonly number: NodeNumber;
  readonly planted: PlantedTree;
  readonly inode: Inode;
}

/** What a look-up found in the forest. */
export interface FoundNode {
  readonly node: Node;
  readonly attributes: Attributes;
  /** Seconds for which the name stands for the node. */
  readonly freshSeconds: number;
}

/** A name that is not there, and for how many seconds that holds. */
export interface Absent {
  readonly node: undefined;
  readonly freshSeconds: number;
}

/** Where the kernel found a node. */
export interface FoundAt {
  readonly folder: Node;
  readonly name: Name;
  /** Whether the node itself is a folder. */
  readonly isFolder: boolean;
  /** Whether it has no extended attributes, and never will. */
  readonly isBare: boolean;
}

export function foundAt(folder: Node, name: Name, { type, bare, freshSeconds }: Attributes): FoundAt {
  const isBare = bare === true && freshSeconds === Number.POSITIVE_INFINITY;
  return { folder, name, isFolder: type === 'directory', isBare };
}

interface KnownNode extends Node {
  readonly planted: LivingTree;
  /** Where the kernel first found it. A folder stays known as long as something in it does. */
  readonly at: FoundAt | undefined;
  /** How often the kernel was told of the node and has not yet forgotten it. */
  lookups: number;
}

interface LivingTree extends PlantedTree {
  readonly below: { readonly planted: LivingTree; readonly folder: Inode } | undefined;
  readonly graft: Graft | undefined;
  /** Known nodes, holds, and trees that stand upon this one: while there are any, the tree stays. */
  uses: number;
  stopWatching: (() => void) | undefined;
}

/** Where a tree stood, so that it can be found again after it was let go. */
interface Place {
  readonly tree: number;
  readonly folder: Inode;
}

const parentName = '..' as Name;

/**
 * All trees of a mount as one: grafts are crossed, every file has one number, and what the kernel knows is counted, so
 * that a tree can forget what nobody refers to and can be let go when nothing of it is in use.
 */
export class Forest {
  readonly #known = new Map<NodeNumber, KnownNode>();
  readonly #living = new Map<number, LivingTree>();
  readonly #planting = new Map<number, SharedWait<LivingTree>>();
  readonly #places = new Map<number, Place>();
  readonly #numbers = new Map<string, number>();
  readonly #root: KnownNode;
  readonly #changed: (node: Node, change: Change) => void;
  #closed = false;

  /** `changed` is called for every change that a tree tells of, with the node that the change is about. */
  constructor(root: Tree, changed: (node: Node, change: Change) => void) {
    this.#changed = changed;
    const planted: LivingTree = {
      tree: root,
      number: 0,
      below: undefined,
      graft: undefined,
      uses: 1,
      stopWatching: undefined,
    };
    this.#living.set(0, planted);
    this.#root = { number: rootNumber, planted, inode: root.root, at: undefined, lookups: 1 };
    this.#known.set(rootNumber, this.#root);
    this.#watch(planted);
  }

  get root(): Node {
    return this.#root;
  }

  /** How many nodes the kernel knows at present, the root included. */
  get knownNodes(): number {
    return this.#known.size;
  }

  /** How many trees are in use at present. */
  get livingTrees(): number {
    return this.#living.size;
  }

  /** The number of a file, whether or not the kernel knows it. */
  numberOf(planted: PlantedTree, inode: Inode): NodeNumber {
    return nodeNumber(planted.number, this.#rootFirst(planted, inode));
  }

  /** The node of a number, where it is known already. */
  known(number: NodeNumber): Node | undefined {
    return this.#known.get(number);
  }

  /**
   * The node of a number, also of one that was forgotten meanwhile; its tree stays until `giveBack` is called.
   * ESTALE: there is no such node any more.
   */
  async borrow(number: NodeNumber, signal: AbortSignal): Promise<{ node: Node; giveBack: () => void }> {
    const known = this.#known.get(number);
    if (known) return { node: known, giveBack: this.hold(known) };
    const inode = inodeOf(number);
    if (inode === undefined)
      throw new StillError('ESTALE', `node ${number} was forgotten, and its number does not tell its inode`);
    const planted = await this.#enter(treeOf(number), signal);
    return {
      node: { number, planted, inode: this.#rootFirst(planted, inode) },
      giveBack: once(() => this.#leave(planted)),
    };
  }

  /**
   * Finds a name in a folder, and crosses into the tree that stands there, if one does. A node that is found counts as
   * told to the kernel once more: who can't tell it calls `forget`.
   */
  async lookup(folder: Node, name: Name, signal: AbortSignal): Promise<FoundNode | Absent> {
    // The kernel passes on much longer ones.
    if (name.length > longestShownName) throw this.#tooLong(folder, name);
    let { planted, inode } = folder;
    if (name === parentName) {
      while (inode === planted.tree.root && planted.below) {
        inode = planted.below.folder;
        planted = planted.below.planted;
      }
    }
    const found = await planted.tree.lookup(inode, name, signal);
    if (!found.attributes) {
      if (name.length > longestName) throw this.#tooLong(folder, name);
      return { node: undefined, freshSeconds: found.freshSeconds };
    }
    const { node, attributes } = await this.#crossed(planted, found.attributes, { folder, name }, signal);
    return { node, attributes, freshSeconds: found.freshSeconds };
  }

  #tooLong(folder: Node, name: Name): StillError {
    return new StillError(
      'ENAMETOOLONG',
      `${this.pathOf(folder, name)} has a name of more than ${longestName} bytes`,
    );
  }

  /** The number of the folder that a node was found in first, where that is known: its parent, unless it was moved. */
  foundIn(node: Node): NodeNumber | undefined {
    const at = this.#known.get(node.number)?.at;
    return at && at.name !== parentName ? at.folder.number : undefined;
  }

  /** Whether a node is known to have no extended attributes at all: its tree need not be asked. */
  isBare(node: Node): boolean {
    return this.#known.get(node.number)?.at?.isBare === true;
  }

  /** The attributes of a node; of the tree's root where one stands upon it. */
  attributes(node: Node, signal: AbortSignal): Promise<Attributes> {
    return node.planted.tree.attributes(node.inode, signal);
  }

  /** Files (no folders) that the kernel knows, with where it found them: those that it has known for longest come first. */
  *knownFiles(): Generator<{ readonly node: Node; readonly at: FoundAt }, void> {
    for (const node of this.#known.values()) if (node.at?.isFolder === false) yield { node, at: node.at };
  }

  /** Counts that the kernel has been told of a node once more; `at` is where it found it. */
  remember(node: Node, at?: FoundAt): Node {
    const known = this.#known.get(node.number);
    if (known) {
      if (known.inode !== node.inode) {
        throw new StillError(
          'EOVERFLOW',
          `${describe(node)} has the same number as ${describe(known)}; it can't be shown beside it`,
        );
      }
      known.lookups++;
      return known;
    }
    const planted = this.#livingOf(node);
    const remembered = { number: node.number, planted, inode: node.inode, at, lookups: 1 };
    this.#known.set(node.number, remembered);
    planted.uses++;
    return remembered;
  }

  /** Counts that the kernel has forgotten a node so many times. */
  forget(number: NodeNumber, times: number): void {
    const known = this.#known.get(number);
    if (!known || known === this.#root) return;
    known.lookups -= times;
    if (known.lookups > 0) return;
    this.#known.delete(number);
    known.planted.tree.forget?.(known.inode);
    this.#leave(known.planted);
  }

  /** Keeps a node's tree while something of it is in use (an open file). Returns what ends that. */
  hold(node: Node): () => void {
    const planted = this.#livingOf(node);
    planted.uses++;
    return once(() => this.#leave(planted));
  }

  /** The path of a node below the mountpoint, or as much of it as is known: for messages. */
  pathOf(node: Node, name?: Name): string {
    const names: string[] = name === undefined ? [] : [nameToText(name)];
    let at: Node | undefined = node;
    while (at) {
      const known: KnownNode | undefined = this.#known.get(at.number);
      if (known === this.#root) break;
      if (!known?.at) return `(${describe(at)})/${names.join('/')}`;
      names.unshift(nameToText(known.at.name));
      at = known.at.folder;
    }
    return `/${names.join('/')}`;
  }

  /** Lets go of every tree but the root's, which belongs to who made the forest. */
  close(): void {
    this.#closed = true;
    this.#known.clear();
    for (const planted of this.#living.values()) {
      planted.stopWatching?.();
      planted.graft?.release();
    }
    this.#living.clear();
  }

  async #crossed(
    planted: PlantedTree,
    attributes: Attributes,
    at: { readonly folder: Node; readonly name: Name },
    signal: AbortSignal,
  ): Promise<{ node: Node; attributes: Attributes }> {
    if (!attributes.graft) {
      const node = { number: this.numberOf(planted, attributes.inode), planted, inode: attributes.inode };
      return { node: this.remember(node, foundAt(at.folder, at.name, attributes)), attributes };
    }
    const upper = await this.#enter(this.#treeNumber(planted.number, attributes.inode), signal);
    try {
      return await this.#crossed(upper, await upper.tree.attributes(upper.tree.root, signal), at, signal);
    } finally {
      this.#leave(upper);
    }
  }

  /** The tree of a number, planted anew where it had been let go. It counts as used until `#leave`. */
  async #enter(number: number, signal: AbortSignal): Promise<LivingTree> {
    const living = this.#living.get(number);
    if (living) {
      living.uses++;
      return living;
    }
    let planting = this.#planting.get(number);
    if (!planting || planting.abandoned) {
      const place = this.#places.get(number);
      if (!place) throw new StillError('ESTALE', `no tree of this mount has the number ${number}`);
      const begun = new SharedWait((shared) =>
        this.#plant(number, place, shared).finally(() => {
          // One that was abandoned may end when its successor has begun already.
          if (this.#planting.get(number) === begun) this.#planting.delete(number);
        }),
      );
      planting = begun;
      this.#planting.set(number, begun);
    }
    const planted = await planting.wait(signal);
    planted.uses++;
    return planted;
  }

  async #plant(number: number, place: Place, signal: AbortSignal): Promise<LivingTree> {
    const lower = await this.#enter(place.tree, signal);
    try {
      if (!lower.tree.graft) throw new StillError('ESTALE', `nothing can stand upon tree ${lower.number}`);
      const graft = await lower.tree.graft(place.folder, signal);
      if (signal.aborted || this.#closed) {
        graft.release();
        throw this.#closed ? new StillError('ECONNABORTED', 'the mount has ended') : signal.reason;
      }
      const below = { planted: lower, folder: place.folder };
      const planted: LivingTree = {
        tree: graft.tree,
        number,
        below,
        graft,
        uses: 1,
        stopWatching: undefined,
      };
      // The tree's own use lasts until all who waited for it have taken theirs.
      setImmediate(() => this.#leave(planted));
      this.#living.set(number, planted);
      this.#watch(planted);
      return planted;
    } catch (error) {
      this.#leave(lower);
      throw error;
    }
  }

  /** The root of the mount has the number 1; whichever inode had it by itself takes the root's. Its own inverse. */
  #rootFirst(planted: PlantedTree, inode: Inode): Inode {
    if (planted.number !== 0) return inode;
    const root = planted.tree.root;
    if (inode === root) return rootNumber;
    return inode === rootNumber ? root : inode;
  }

  #livingOf(node: Node): LivingTree {
    const living = this.#living.get(node.planted.number);
    if (living?.tree === node.planted.tree) return living;
    throw new StillError('ESTALE', `the tree of ${describe(node)} was let go`);
  }

  #leave(planted: LivingTree): void {
    planted.uses--;
    if (this.#closed || planted.uses > 0 || !planted.below) return;
    planted.stopWatching?.();
    this.#living.delete(planted.number);
    planted.graft?.release();
    this.#leave(planted.below.planted);
  }

  #treeNumber(parent: number, folder: Inode): number {
    const key = `${parent} ${folder}`;
    const given = this.#numbers.get(key);
    if (given !== undefined) return given;
    if (this.#places.size >= treeNumbers - 1) {
      throw new StillError('ENFILE', `this mount has shown ${treeNumbers - 1} trees; mount again to go on`);
    }
    let number = preferredTreeNumber(parent, folder);
    while (this.#places.has(number)) number = (number % (treeNumbers - 1)) + 1;
    this.#numbers.set(key, number);
    this.#places.set(number, { tree: parent, folder });
    return number;
  }

  #watch(planted: LivingTree): void {
    planted.stopWatching = planted.tree.watch?.((change) => {
      const inode = change.kind === 'entry' ? change.folder : change.inode;
      const known = this.#known.get(this.numberOf(planted, inode));
      if (known) this.#changed(known, change);
    });
  }
}

/** How a person is told of a node where its path is not known. */
export function describe(node: Node): string {
  return `inode ${node.inode} of tree ${node.planted.number}`;
}

function once(action: () => void): () => void {
  let done = false;
  return () => {
    if (!done) action();
    done = true;
  };
}
