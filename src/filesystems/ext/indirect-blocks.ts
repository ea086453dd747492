import { type BlockMap, type BlockRun, JoinedRuns } from './block-map.js';
import type { Blocks } from './blocks.js';
import { damaged, type ExtInode } from './inode.js';

const direct = 12;
const trees = 3;

/** Where a file's blocks are, as ext2 tells it: twelve numbers, and three trees of blocks of numbers. */
export class IndirectBlocks implements BlockMap {
  readonly #owner: ExtInode;
  readonly #blocks: Blocks;
  readonly #perBlock: number;

  constructor(owner: ExtInode, blocks: Blocks) {
    this.#owner = owner;
    this.#blocks = blocks;
    this.#perBlock = blocks.bytes / 4;
  }

  async runs(first: number, count: number, signal: AbortSignal): Promise<readonly BlockRun[]> {
    const { blockField } = this.#owner;
    if (first < direct) return this.#gather(blockField.subarray(0, direct * 4), first, first, count);
    let place = first - direct;
    let span = 1;
    for (let tree = 0; tree < trees; tree++) {
      span *= this.#perBlock;
      if (place < span)
        return this.#within(blockField.readUInt32LE((direct + tree) * 4), span, place, first, count, signal);
      place -= span;
    }
    throw damaged(this.#owner.number, `no table can tell where block ${first} is`);
  }

  /** Goes down from a table that tells of `span` blocks to the one that tells of the one at `place` among them. */
  async #within(
    root: number,
    span: number,
    place: number,
    first: number,
    count: number,
    signal: AbortSignal,
  ): Promise<readonly BlockRun[]> {
    let table = root;
    let ofTable = span;
    let at = place;
    for (;;) {
      if (table === 0) return [{ first, count: ofTable - at, block: undefined }];
      if (!this.#blocks.hold(table, 1)) throw damaged(this.#owner.number, `it has a table at block ${table}`);
      const numbers = await this.#blocks.read(table, signal);
      const ofEntry = ofTable / this.#perBlock;
      if (ofEntry === 1) return this.#gather(numbers, at, first, count);
      table = numbers.readUInt32LE(Math.floor(at / ofEntry) * 4);
      at %= ofEntry;
      ofTable = ofEntry;
    }
  }

  /** Runs by the numbers in a table from `at` on. */
  #gather(numbers: Buffer, at: number, first: number, count: number): readonly BlockRun[] {
    const joined = new JoinedRuns();
    const end = Math.min(numbers.length / 4, at + count);
    for (let place = at; place < end; place++) {
      const block = numbers.readUInt32LE(place * 4);
      if (block !== 0 && !this.#blocks.hold(block, 1)) {
        // What lies before it can be read.
        if (place > at) break;
        throw damaged(this.#owner.number, `its block ${first} is said to be at ${block}`);
      }
      joined.add(first + place - at, 1, block === 0 ? undefined : block);
    }
    return joined.runs;
  }
}
