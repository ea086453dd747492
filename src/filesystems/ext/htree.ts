import { type HashName, hashOfVersion } from './directory-hash.js';
import type { EntryBlocks } from './entry-blocks.js';
import { damaged } from './inode.js';
import type { Superblock } from './superblock.js';

// linux fs/ext4/namei.c: struct dx_root and dx_node look like entries; struct dx_countlimit, then struct dx_entry
const rootInfoAt = 24;
const rootInfoBytes = 8;
const nodeStart = 8;
const entryBytes = 8;
const levels = 2;
const levelsOfLarge = 3;

/** A node of the index, and which of its entries was taken. */
interface Frame {
  readonly bytes: Buffer;
  readonly start: number;
  readonly count: number;
  at: number;
}

/** The index of a folder by the hashes of its names. */
export class Htree {
  /** How the names are hashed. */
  readonly hash: HashName;
  readonly #number: number;
  readonly #blocks: EntryBlocks;
  readonly #depth: number;
  readonly #rootStart: number;
  readonly #root: Buffer;

  private constructor(number: number, blocks: EntryBlocks, root: Buffer, hash: HashName) {
    this.#number = number;
    this.#blocks = blocks;
    this.#root = root;
    this.#depth = root.readUInt8(rootInfoAt + 6);
    this.#rootStart = rootInfoAt + rootInfoBytes;
    this.hash = hash;
  }

  /** EIO: the root is damaged. Undefined: its names are hashed in a way that is not known here. */
  static async open(
    number: number,
    blocks: EntryBlocks,
    superblock: Superblock,
    signal: AbortSignal,
  ): Promise<Htree | undefined> {
    const root = await blocks.index(0, rootInfoAt + rootInfoBytes, signal);
    const infoBytes = root.readUInt8(rootInfoAt + 5);
    const depth = root.readUInt8(rootInfoAt + 6);
    const most = superblock.features.largeDirectories ? levelsOfLarge : levels;
    if (root.readUInt32LE(rootInfoAt) !== 0 || infoBytes !== rootInfoBytes || depth >= most)
      throw damaged(number, `the root of its index tells of ${depth + 1} levels`);
    const hash = hashOfVersion(root.readUInt8(rootInfoAt + 4), superblock);
    return hash && new Htree(number, blocks, root, hash);
  }

  /** The blocks of the folder that can hold a name of this hash. EIO: the index is damaged. */
  async *leaves(hash: number, signal: AbortSignal): AsyncGenerator<number> {
    const frames = [this.#frame(this.#root, this.#rootStart, hash)];
    while (frames.length <= this.#depth) await this.#descend(frames, hash, signal);
    // Each turn goes on to another entry of a block: no folder has more of them.
    for (let left = this.#blocks.count; left > 0; left--) {
      yield this.#taken(frames);
      // Names of one hash may fill more than one block: the next one's hash then is the same.
      while (frames.length > 0 && !this.#goesOn(frames)) frames.pop();
      const frame = frames.at(-1);
      if (!frame || (this.#hashAt(frame) & ~1) >>> 0 !== hash) return;
      while (frames.length <= this.#depth) await this.#descend(frames, 0, signal);
    }
  }

  /** Takes the next entry of the last node, if it has one. */
  #goesOn(frames: readonly Frame[]): boolean {
    const frame = frames.at(-1);
    if (!frame || frame.at + 1 >= frame.count) return false;
    frame.at++;
    return true;
  }

  async #descend(frames: Frame[], hash: number, signal: AbortSignal): Promise<void> {
    const bytes = await this.#blocks.index(this.#taken(frames), nodeStart, signal);
    frames.push(this.#frame(bytes, nodeStart, hash));
  }

  /** A node with the last entry taken whose hash is not above this one. */
  #frame(bytes: Buffer, start: number, hash: number): Frame {
    const limit = bytes.readUInt16LE(start);
    const count = bytes.readUInt16LE(start + 2);
    if (count === 0 || count > limit || start + limit * entryBytes > bytes.length)
      throw damaged(this.#number, `its index is said to have ${count} of ${limit} entries`);
    const frame = { bytes, start, count, at: 0 };
    let low = 1;
    let high = count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (bytes.readUInt32LE(start + middle * entryBytes) <= hash) low = middle + 1;
      else high = middle;
    }
    frame.at = low - 1;
    return frame;
  }

  #hashAt({ bytes, start, at }: Frame): number {
    return at === 0 ? 0 : bytes.readUInt32LE(start + at * entryBytes);
  }

  #taken(frames: readonly Frame[]): number {
    const frame = frames.at(-1);
    // The lower 28 bits are the block's number.
    return frame ? frame.bytes.readUInt32LE(frame.start + frame.at * entryBytes + 4) & 0x0fff_ffff : 0;
  }
}
