import { LRUCache } from 'lru-cache';
import { StillError } from '../../errors.js';
import type { FileContent } from '../file-system.js';
import type { Geometry } from './boot-sector.js';
import { type IndexEntry, IndexNode } from './index-node.js';
import type { FileReference } from './mft-record.js';
import type { SoughtName } from './upcase.js';

/** A tree of names is not deeper: each block holds three names at least. */
const mostDepth = 40;
/** So many damaged blocks are passed over. */
const mostPassedOver = 100;
/** Of blocks that were read, of all folders. */
const mostKnownBytes = 4 << 20;

/** Blocks of folders' indexes, by where they are. */
export class KnownBlocks extends LRUCache<string, IndexNode> {
  constructor() {
    super({ maxSize: mostKnownBytes, sizeCalculation: ({ byteLength }) => byteLength });
  }
}

/** A value of an attribute, as far as an index needs it. */
export interface IndexValue {
  readonly size: number;
  readonly content: FileContent;
}

/** What an index is made of: the value of its root, and where it has more than that, blocks and which of them are in use. */
export interface IndexParts {
  readonly root: Buffer;
  readonly blocks: IndexValue | undefined;
  readonly bitmap: IndexValue | undefined;
}

export interface ListedName {
  readonly name: string;
  readonly file: FileReference;
  /** Where to go on after it. */
  readonly cookie: bigint;
}

/** The index of a folder: a root in the MFT record, blocks in clusters, and a bitmap of those that are in use. */
export class FolderIndex {
  readonly #rootBytes: number;
  readonly #root: IndexNode;
  readonly #blockBytes: number;
  /** Blocks are counted in clusters, or in sectors of 512 bytes where they are smaller than a cluster. */
  readonly #unitBytes: number;
  readonly #blocks: IndexValue | undefined;
  readonly #count: number;
  readonly #bitmap: IndexValue | undefined;
  readonly #folder: number;
  readonly #known: KnownBlocks;
  readonly #problem: (sentence: string) => void;
  /** The blocks that were passed over, and what was wrong with them. */
  readonly #passedOver = new Map<number, StillError>();

  /** EIO: the root is damaged. */
  constructor(
    folder: number,
    { root, blocks, bitmap }: IndexParts,
    { clusterBytes, volumeBytes }: Pick<Geometry, 'clusterBytes' | 'volumeBytes'>,
    known: KnownBlocks,
    problem: (sentence: string) => void,
  ) {
    const { node, blockBytes } = IndexNode.root(root, `the index of folder ${folder}`);
    this.#rootBytes = root.length;
    this.#root = node;
    this.#blockBytes = blockBytes;
    this.#unitBytes = clusterBytes <= blockBytes ? clusterBytes : 512;
    this.#blocks = blocks;
    this.#count = Math.floor(Math.min(blocks?.size ?? 0, volumeBytes) / blockBytes);
    this.#bitmap = bitmap;
    this.#folder = folder;
    this.#known = known;
    this.#problem = problem;
  }

  async find(sought: SoughtName, signal: AbortSignal): Promise<IndexEntry | undefined> {
    let node = this.#root;
    for (let depth = 0; depth < mostDepth; depth++) {
      const { entry, child } = node.step(sought);
      if (entry || child === undefined) return entry;
      node = await this.#block(child, signal);
    }
    throw new StillError('EIO', `the index of folder ${this.#folder} is damaged: it goes in circles`);
  }

  /**
   * Some names after a cookie; none at the end. First those of the root, then those of each block, in the order that the blocks lie
   * in: so they are read one after the other, and a damaged one hides no others. EIO, at the end: there was one.
   */
  async names(after: bigint, signal: AbortSignal): Promise<readonly ListedName[]> {
    const position = Number(after);
    if (position < this.#rootBytes) {
      const names = this.#root.entries(position).map((entry) => this.#listed(entry, 1));
      if (names.length > 0) return names;
    }
    const count = this.#count;
    const inBlocks = Math.max(position - this.#rootBytes, 0);
    let from = inBlocks % this.#blockBytes;
    for (let block = Math.floor(inBlocks / this.#blockBytes); block < count; block++, from = 0) {
      block = await this.#nextInUse(block, count, signal);
      if (block >= count) break;
      const start = block * this.#blockBytes;
      const node = await this.#readable(start / this.#unitBytes, signal);
      const names =
        node?.entries(from).map((entry) => this.#listed(entry, this.#rootBytes + start + 1)) ?? [];
      if (names.length > 0) return names;
    }
    for (const damage of this.#passedOver.values()) throw damage;
    return [];
  }

  #listed({ at, file, name }: IndexEntry, base: number): ListedName {
    return { name, file, cookie: BigInt(base + at) };
  }

  async #readable(number: number, signal: AbortSignal): Promise<IndexNode | undefined> {
    try {
      return await this.#block(number, signal);
    } catch (error) {
      const isKnown = this.#passedOver.has(number);
      if (!(error instanceof StillError) || (!isKnown && this.#passedOver.size === mostPassedOver))
        throw error;
      this.#passedOver.set(number, error);
      this.#problem(`Names of folder ${this.#folder} are missing: ${error.message}.`);
      return undefined;
    }
  }

  /** The first block from `block` on that the bitmap has; `count` where there is none. */
  async #nextInUse(block: number, count: number, signal: AbortSignal): Promise<number> {
    const bitmap = this.#bitmap;
    if (!bitmap)
      throw new StillError('EIO', `folder ${this.#folder} is damaged: it has blocks and no bitmap of them`);
    const window = Buffer.alloc(512);
    for (let at = block; at < count; ) {
      const byte = Math.floor(at / 8);
      if (byte >= bitmap.size) return count;
      const bytes = window.subarray(0, Math.min(window.length, bitmap.size - byte));
      await bitmap.content.read(byte, bytes, signal);
      for (const end = Math.min(count, (byte + bytes.length) * 8); at < end; at++) {
        if ((((bytes[Math.floor(at / 8) - byte] ?? 0) >>> (at % 8)) & 1) !== 0) return at;
      }
    }
    return count;
  }

  async #block(number: number, signal: AbortSignal): Promise<IndexNode> {
    const key = `${this.#folder} ${number}`;
    const known = this.#known.get(key);
    if (known) return known;
    const what = `block ${number} of the index of folder ${this.#folder}`;
    const offset = number * this.#unitBytes;
    if (!this.#blocks || offset + this.#blockBytes > this.#blocks.size)
      throw new StillError('EIO', `${what} is not there`);
    const stored = Buffer.allocUnsafe(this.#blockBytes);
    await this.#blocks.content.read(offset, stored, signal);
    const node = IndexNode.block(stored, number, what);
    this.#known.set(key, node);
    return node;
  }
}
