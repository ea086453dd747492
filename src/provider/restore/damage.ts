import { StillError } from '../../errors.js';
import type { Narration } from '../job/narration.js';

/** So many damaged ranges are told one by one. */
const mostTold = 100;

/** What of a backup is not as it was stored: the end of a restore, unless it is to go on all the same. */
export class Damage {
  #count = 0;

  constructor(
    /** Whether to go on. */
    private readonly ignored: boolean,
    private readonly log: Narration,
  ) {}

  /** How many places were found. */
  get count(): number {
    return this.#count;
  }

  /** A program failed, perhaps because of damage: throws that, unless damage is ignored. */
  failed(error: Error): void {
    if (!this.ignored) throw error;
    this.#count++;
    this.log.warn({}, error.message);
  }

  /** Tells of a place by a sentence. Throws EIO, unless damage is ignored. */
  found(sentence: string): void {
    this.#count++;
    if (!this.ignored)
      throw new StillError('EIO', `${sentence}; --ignore-damage restores what there is all the same`);
    if (this.#count <= mostTold) this.log.warn({}, sentence);
    if (this.#count === mostTold)
      this.log.warn({}, 'more damaged places are counted and not told one by one');
  }
}
