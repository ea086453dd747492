import { StillError } from '../../errors.js';

export const extentRecordBytes = 16;

/** A run of blocks of a fork. */
export interface Extent {
  /** Where it begins in the fork, blocks. */
  readonly first: number;
  readonly count: number;
  /** The number of its first block on the disk. */
  readonly block: number;
  /** Allocated, and nothing was written to it: it reads as zeros. */
  readonly unwritten: boolean;
}

/** Extents of a fork in ascending order. */
export interface ExtentRun {
  readonly extents: readonly Extent[];
  /** Up to which block of the fork they are all there are. */
  readonly until: number;
}

/** Where the blocks of a fork are. */
export interface ForkMap {
  /**
   * The extents from a block of the fork on, up to another one (not included) or less far; the first may begin before.
   * `until` is above `first`. EIO: what tells it is damaged.
   */
  run(first: number, end: number, signal: AbortSignal): Promise<ExtentRun>;
  /** The same, without a wait, where it is in memory. */
  runNow(first: number, end: number): ExtentRun | undefined;
}

/** No more extents are given at once: a file may have millions. */
const mostAtOnce = 512;

/**
 * Finds extents in an array of records as they are stored (struct xfs_bmbt_rec of linux/fs/xfs/libxfs/xfs_format.h: 1 bit
 * "unwritten", 54 bits of place in the fork, 52 bits of block, 21 bits of count). `until`: where what follows the array begins.
 */
export function extentsIn(
  records: Buffer,
  count: number,
  first: number,
  end: number,
  until: number,
): ExtentRun {
  let low = 0;
  let high = count;
  // The last one that begins at or before what is wanted.
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (firstOf(records, middle) <= first) low = middle;
    else high = middle;
  }
  const extents: Extent[] = [];
  let from = first;
  for (let index = low; index < count; index++) {
    const extent = extentAt(records, index);
    if (extent.first >= end) return { extents, until: Math.min(end, until) };
    if (extents.length === mostAtOnce) return { extents, until: extent.first };
    const next = extent.first + extent.count;
    if (index === low && next <= first) continue;
    // The first one may begin before; each other one begins where its forerunner ended, or later.
    if (extent.count === 0 || (index > low && extent.first < from))
      throw new StillError('EIO', `extents of a file are in disorder at its block ${extent.first}`);
    extents.push(extent);
    from = next;
  }
  return { extents, until: Math.max(Math.min(end, until), first + 1) };
}

function firstOf(records: Buffer, index: number): number {
  const at = index * extentRecordBytes;
  return (records.readUInt32BE(at) & 0x7fff_ffff) * 2 ** 23 + (records.readUInt32BE(at + 4) >>> 9);
}

function extentAt(records: Buffer, index: number): Extent {
  const at = index * extentRecordBytes;
  const low = records.readUInt32BE(at + 12);
  return {
    first: firstOf(records, index),
    count: low & 0x1f_ffff,
    block:
      (records.readUInt32BE(at + 4) & 0x1ff) * 2 ** 43 +
      records.readUInt32BE(at + 8) * 2 ** 11 +
      (low >>> 21),
    unwritten: records.readUInt8(at) >= 0x80,
  };
}

/** The map of a fork whose extents are listed in its inode. */
export class ExtentList implements ForkMap {
  readonly #records: Buffer;
  readonly #count: number;

  constructor(records: Buffer, count: number) {
    this.#records = records;
    this.#count = count;
  }

  async run(first: number, end: number): Promise<ExtentRun> {
    return this.runNow(first, end);
  }

  runNow(first: number, end: number): ExtentRun {
    return extentsIn(this.#records, this.#count, first, end, Number.POSITIVE_INFINITY);
  }
}
