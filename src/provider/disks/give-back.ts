import { messageOf } from '../../errors.js';
import { punchHole } from '../../posix/punch-hole.js';
import type { Narration } from '../job/narration.js';
import type { ByteRange } from './block-runs.js';

/** So much is written before it is given back, in bytes: each time all of it is brought onto the disk first. */
const stepBytes = 256 * 2 ** 20;

/**
 * Gives a snapshot's ranges back as soon as they are safely stored, so that its fleecing space is free for what the guest
 * overwrites later.
 */
export class GiveBack {
  #stored: ByteRange[] = [];
  #bytes = 0;
  #givingBack = false;
  #descriptor: number | undefined;

  /**
   * @param descriptor of the snapshot's disk, open for writing; undefined: nothing can be given back.
   * @param makeDurable brings what was written onto the disk.
   */
  constructor(
    descriptor: number | undefined,
    private readonly makeDurable: () => Promise<void>,
    private readonly log: Narration,
  ) {
    this.#descriptor = descriptor;
  }

  /** Notes that a range is written, of which so many bytes had to be. From time to time what is noted is given back. */
  async written(range: ByteRange, bytes: number): Promise<void> {
    if (this.#descriptor === undefined) return;
    this.#stored.push(range);
    this.#bytes += bytes;
    if (this.#bytes < stepBytes || this.#givingBack) return;
    this.#givingBack = true;
    const ranges = joined(this.#stored);
    this.#stored = [];
    this.#bytes = 0;
    try {
      await this.makeDurable();
      await this.#punch(ranges);
    } finally {
      this.#givingBack = false;
    }
  }

  async #punch(ranges: readonly ByteRange[]): Promise<void> {
    try {
      for (const { offset, length } of ranges) {
        if (this.#descriptor !== undefined) await punchHole(this.#descriptor, offset, length);
      }
    } catch (error) {
      // It costs space alone.
      this.#descriptor = undefined;
      this.#stored = [];
      this.log.warn({}, `nothing more is given back of the snapshot: ${messageOf(error)}`);
    }
  }
}

/** Ranges in order, those that touch as one. */
export function joined(ranges: readonly ByteRange[]): ByteRange[] {
  const result: ByteRange[] = [];
  for (const range of [...ranges].sort((a, b) => a.offset - b.offset)) {
    const last = result.at(-1);
    if (last && last.offset + last.length >= range.offset) {
      const end = Math.max(last.offset + last.length, range.offset + range.length);
      result[result.length - 1] = { offset: last.offset, length: end - last.offset };
    } else result.push(range);
  }
  return result;
}
