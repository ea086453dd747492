import { StillError } from '../../errors.js';

/** What may come before anybody wants it. A server that speaks when spoken to stays far below. */
const mostEarlyBytes = 4 * 1024 * 1024;

/**
 * The incoming side of a connection. Whoever reads says where the next bytes are to go and what to do when they are
 * there; that is called at once, while the socket's buffer is at hand, so nothing is kept or copied twice.
 */
export class Inbox {
  #into: Uint8Array = new Uint8Array(0);
  #filled = 0;
  #then: (() => void) | undefined;
  #giveUp: ((error: StillError) => void) | undefined;
  /** Bytes that came before anybody wanted them: only while the two sides take turns. */
  #early: Buffer = Buffer.alloc(0);
  #failure: StillError | undefined;

  /** How many bytes wait to be wanted. */
  get waiting(): number {
    return this.#early.length;
  }

  /** The next bytes fill `into`; then `then` is called, which says what comes next. */
  expect(into: Uint8Array, then: () => void): void {
    this.#into = into;
    this.#filled = 0;
    this.#then = then;
  }

  /** The same as a promise, which fails with what the inbox failed with. */
  read(bytes: number): Promise<Buffer> {
    const into = Buffer.alloc(bytes);
    return new Promise((resolve, reject) => {
      if (this.#failure) {
        reject(this.#failure);
        return;
      }
      this.#giveUp = reject;
      this.expect(into, () => {
        this.#giveUp = undefined;
        resolve(into);
      });
      const early = this.#early;
      this.#early = Buffer.alloc(0);
      this.take(early);
    });
  }

  /** Hands in what came. Throws what `then` throws. */
  take(chunk: Buffer): void {
    if (this.#failure) return;
    let rest = chunk;
    while (this.#then) {
      const length = Math.min(this.#into.byteLength - this.#filled, rest.length);
      this.#into.set(rest.subarray(0, length), this.#filled);
      this.#filled += length;
      rest = rest.subarray(length);
      if (this.#filled < this.#into.byteLength) return;
      const then = this.#then;
      this.#then = undefined;
      then();
    }
    if (rest.length === 0 || this.#failure) return;
    if (this.#early.length + rest.length > mostEarlyBytes)
      throw new StillError('EIO', 'the other side of an NBD connection says more than it was asked for');
    this.#early = Buffer.concat([this.#early, rest]);
  }

  /** Nothing more is taken: who waits for bytes, and who will, fails with this. */
  fail(error: StillError): void {
    this.#failure ??= error;
    this.#then = undefined;
    this.#early = Buffer.alloc(0);
    this.#giveUp?.(this.#failure);
    this.#giveUp = undefined;
  }
}
