import { setImmediate as nextTurn } from 'node:timers/promises';
import { StillError } from '../../errors.js';
import type { Extent } from '../../extents.js';
import type { Disk } from '../disk.js';

/** What a disk is asked for at once: little where extents are many, much where they are few. */
const leastPiece = 256 * 1024 * 1024;
const mostPiece = 1024 * 1024 * 1024 * 1024;
/** After so many extents other work has its turn. */
const extentsPerTurn = 8192;

/**
 * The extents of a range of a disk, piece by piece, as the disk gives them: neighbours may be of one kind. `firstPiece` (bytes) is for
 * who expects to find what is looked for soon.
 */
export async function* extentsOf(
  disk: Disk,
  from: number,
  to: number,
  signal: AbortSignal | undefined,
  firstPiece = leastPiece,
): AsyncGenerator<readonly Extent[], void, undefined> {
  let piece = firstPiece;
  let sinceTurn = 0;
  for (let offset = from; offset < to; ) {
    signal?.throwIfAborted();
    const extents = await disk.extents(offset, Math.min(piece, to - offset), signal);
    const last = extents.at(-1);
    if (!last || last.offset + last.length <= offset) {
      throw new StillError('EIO', `the map of a disk ends at ${offset} of ${disk.size} bytes`);
    }
    yield extents;
    offset = last.offset + last.length;
    piece = extents.length > extentsPerTurn ? leastPiece : Math.min(piece * 2, mostPiece);
    sinceTurn += extents.length + 64;
    if (sinceTurn > extentsPerTurn) {
      sinceTurn = 0;
      await nextTurn();
    }
  }
}

/** Neighbouring extents that are alike in one respect, joined. */
export interface Range {
  readonly offset: number;
  readonly length: number;
  /** Of the respect that was asked for. */
  readonly is: boolean;
}

/** Joins extents, given in order, by one respect. `finish` gives the last range. */
export class RangeJoiner {
  readonly #respect: (extent: Extent) => boolean;
  #offset = 0;
  #length = 0;
  #is = false;

  constructor(respect: (extent: Extent) => boolean) {
    this.#respect = respect;
  }

  /** The range that ends where this extent begins, if one does. */
  add(extent: Extent): Range | undefined {
    const is = this.#respect(extent);
    if (this.#length > 0 && is === this.#is) {
      this.#length += extent.length;
      return undefined;
    }
    const ended = this.finish();
    this.#offset = extent.offset;
    this.#length = extent.length;
    this.#is = is;
    return ended;
  }

  finish(): Range | undefined {
    if (this.#length === 0) return undefined;
    return { offset: this.#offset, length: this.#length, is: this.#is };
  }
}
