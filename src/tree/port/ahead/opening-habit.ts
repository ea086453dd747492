import type { Inode } from '../../attributes.js';

/** So many files that were opened as soon as they were found make a habit. */
const certain = 4;
const most = 16;

/** Foretells whether a file that is looked up will be opened: by who reads here and there it mostly is, by stat(2) it is not. */
export class OpeningHabit {
  #last: Inode | undefined;
  #score = 0;

  get opensWhatItFinds(): boolean {
    return this.#score >= certain;
  }

  /** To be called with each file that is looked up. */
  found(inode: Inode): void {
    if (this.#last !== undefined) this.#score = Math.max(0, this.#score - 2);
    this.#last = inode;
  }

  /** To be called with each file that is opened. */
  opened(inode: Inode): void {
    if (inode !== this.#last) return;
    this.#last = undefined;
    this.#score = Math.min(most, this.#score + 1);
  }
}
