import { SharedWait } from '../shared-wait.js';

/** A value, and for how many seconds more it is taken to be so. */
export interface Fresh<T> {
  readonly value: T;
  readonly freshSeconds: number;
}

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

  async get(signal: AbortSignal): Promise<Fresh<T>> {
    const known = this.#knownYet();
    if (known) return known;
    if (!this.#working || this.#working.abandoned) this.#working = this.#begin();
    const value = await this.#working.wait(signal);
    // It may have expired while it was worked out.
    return this.#knownYet() ?? { value, freshSeconds: 0 };
  }

  /** What is known is so no more, nor what is being worked out. */
  expire(): void {
    this.#known = undefined;
    this.#working = undefined;
  }

  #knownYet(): Fresh<T> | undefined {
    const left = (this.#known?.until ?? 0) - performance.now();
    return this.#known && left > 0 ? { value: this.#known.value, freshSeconds: left / 1000 } : undefined;
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
