import { SharedWait } from '../shared-wait.js';

/**
 * A value that changes by itself: whoever asks within a short time gets the same one, later it is worked out anew. Who
 * asks meanwhile waits for the same work.
 */
export class FreshValue<T> {
  readonly #work: (signal: AbortSignal) => Promise<T>;
  readonly #milliseconds: number;
  #known: { readonly value: T; readonly until: number } | undefined;
  #working: SharedWait<T> | undefined;

  constructor(seconds: number, work: (signal: AbortSignal) => Promise<T>) {
    this.#milliseconds = seconds * 1000;
    this.#work = work;
  }

  async get(signal: AbortSignal): Promise<T> {
    if (this.#known && performance.now() < this.#known.until) return this.#known.value;
    if (!this.#working || this.#working.abandoned) this.#working = this.#begin();
    return this.#working.wait(signal);
  }

  /** What is known is so no more, nor what is being worked out. */
  expire(): void {
    this.#known = undefined;
    this.#working = undefined;
  }

  #begin(): SharedWait<T> {
    const working: SharedWait<T> = new SharedWait(async (signal) => {
      try {
        const value = await this.#work(signal);
        if (this.#working === working) {
          this.#known = { value, until: performance.now() + this.#milliseconds };
        }
        return value;
      } finally {
        if (this.#working === working) this.#working = undefined;
      }
    });
    return working;
  }
}
