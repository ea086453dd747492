import { blockBytes, blockCount, lengthOfBlock } from '../sums/sums-format.js';
import type { DirtyRow } from './dirty-rows.js';

/** A range of a disk, in bytes. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/** Blocks of a disk (each the reach of one checksum) that are dealt with alike. */
export interface BlockRun {
  readonly first: number;
  readonly count: number;
  /**
   * What has changed in it, ascending. Of a run of several blocks it is nothing (`clean`) or all (`zero`): what is partly
   * changed, or has bytes, comes block by block.
   */
  readonly dirty: readonly ByteRange[];
  /** All of it is zeros, for certain. */
  readonly zero: boolean;
}

/** Where a disk's holes are, which are zeros for certain. Each answer is at or after the offset; the disk's size where none follows. */
export interface Holes {
  nextData(offset: number): Promise<number>;
  nextHole(offset: number): Promise<number>;
}

/** Takes a disk's map apart into blocks, in their order. */
export async function* blockRuns(
  rows: AsyncIterable<DirtyRow>,
  sizeBytes: number,
  holes: Holes,
): AsyncGenerator<BlockRun, void, undefined> {
  const zeros = new ZeroFinder(holes);
  const blocks = blockCount(sizeBytes);
  const endOf = (block: number): number => block * blockBytes + lengthOfBlock(block, sizeBytes);
  /** What has changed of the block that comes next, as far as it is known. */
  let dirty: ByteRange[] = [];
  let next = 0;
  for await (const row of rows) {
    const end = row.offset + row.length;
    while (next < blocks && endOf(next) <= end) {
      const begin = next * blockBytes;
      if (row.dirty && row.offset <= begin) {
        // All of it is dirty. Zeros are found by the block, so that a disk of many small holes is not asked for each.
        const zeroBlocks = await zeros.blocksAt(begin, end, sizeBytes);
        const count = Math.max(1, zeroBlocks);
        const length = endOf(next + count - 1) - begin;
        yield { first: next, count, dirty: [{ offset: begin, length }], zero: zeroBlocks > 0 };
        next += count;
      } else if (!row.dirty && row.offset <= begin) {
        const last = end === sizeBytes ? blocks : Math.floor(end / blockBytes);
        yield { first: next, count: last - next, dirty: [], zero: false };
        next = last;
      } else {
        if (row.dirty) dirty.push({ offset: row.offset, length: endOf(next) - row.offset });
        yield { first: next, count: 1, dirty, zero: false };
        dirty = [];
        next++;
      }
    }
    const from = Math.max(row.offset, next * blockBytes);
    if (row.dirty && from < end) dirty.push({ offset: from, length: end - from });
  }
}

/** Finds whole blocks of zeros, asking no more than it must. */
class ZeroFinder {
  /** From here … */
  #from = 0;
  /** … to here all is of one kind. */
  #to = 0;
  #isHole = false;

  constructor(private readonly holes: Holes) {}

  /** How many whole blocks from an offset on, and before `end`, are zeros. */
  async blocksAt(offset: number, end: number, sizeBytes: number): Promise<number> {
    if (offset < this.#from || offset >= this.#to) {
      const data = await this.holes.nextData(offset);
      this.#isHole = data > offset;
      this.#from = offset;
      this.#to = this.#isHole ? data : await this.holes.nextHole(offset);
    }
    if (!this.#isHole) return 0;
    const to = Math.min(this.#to, end);
    if (to >= sizeBytes) return blockCount(sizeBytes) - offset / blockBytes;
    return Math.floor((to - offset) / blockBytes);
  }
}
