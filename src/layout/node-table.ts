import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Name } from '../name.js';
import { nameToBytes } from '../name.js';
import type { Inode } from '../tree/attributes.js';
import type { Node } from './node.js';

/** So many bits of a hash are an inode: what is left of the mount's 64 when its tree's number is put before it. */
const inodeBits = 43n;
const mask = (1n << inodeBits) - 1n;

export const rootInode: Inode = 1n;

/** So many forgotten nodes can still be found by their numbers, as an NFS server may ask for them. */
const mostForgotten = 16_384;

/** The nodes that somebody refers to, and the numbers of all. */
export class NodeTable {
  readonly #known = new Map<Inode, Node>();
  readonly #inodes = new Map<Name, Inode>();
  readonly #forgotten = new LRUCache<Inode, Node>({ max: mostForgotten });

  constructor(root: Node) {
    this.#known.set(rootInode, root);
    this.#inodes.set(root.path, rootInode);
  }

  /** How many nodes are known. */
  get size(): number {
    return this.#known.size;
  }

  node(inode: Inode): Node | undefined {
    return this.#known.get(inode) ?? this.#forgotten.get(inode);
  }

  /** The known node of a path. */
  at(path: Name): Node | undefined {
    const inode = this.#inodes.get(path);
    return inode === undefined ? undefined : this.#known.get(inode);
  }

  /**
   * The number of a path: a hash of it, so that it is the same in the next mount; the next free one where another path
   * that is known has that number.
   */
  inode(path: Name): Inode {
    const known = this.#inodes.get(path);
    if (known !== undefined) return known;
    let inode = createHash('sha1').update(nameToBytes(path)).digest().readBigUInt64BE(8) & mask;
    while (inode <= rootInode || this.#known.has(inode)) inode = (inode + 1n) & mask;
    return inode;
  }

  remember(node: Node): Inode {
    const inode = this.inode(node.path);
    this.#known.set(inode, node);
    this.#inodes.set(node.path, inode);
    this.#forgotten.delete(inode);
    return inode;
  }

  forget(inode: Inode): void {
    const node = this.#known.get(inode);
    if (!node || inode === rootInode) return;
    this.#known.delete(inode);
    this.#inodes.delete(node.path);
    this.#forgotten.set(inode, node);
  }

  /** The numbers of the known nodes at and below a path. */
  *below(path: Name): Generator<Inode> {
    for (const [other, inode] of this.#inodes) {
      if (other === path || other.startsWith(`${path}/`)) yield inode;
    }
  }
}
