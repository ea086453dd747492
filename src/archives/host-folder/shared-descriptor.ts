import { StillError } from '../../errors.js';

/**
 * A descriptor that several calls may be using. It is closed when its owner and all of them have let it go: one that is
 * closed under a call in the pool could be another file's by the time the call is made.
 */
export class SharedDescriptor {
  #uses = 1;

  constructor(
    readonly number: number,
    readonly close: (descriptor: number) => void,
  ) {}

  /** EBADF: it was let go by all already. */
  hold(): this {
    if (this.#uses === 0) throw new StillError('EBADF', 'the file was closed meanwhile');
    this.#uses++;
    return this;
  }

  letGo(): void {
    this.#uses--;
    if (this.#uses === 0) this.close(this.number);
  }
}
