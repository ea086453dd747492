/**
 * One piece of work that several wait for. Each waiter can leave by its own signal; the work itself is aborted only
 * when the last one has left.
 */
export class SharedWait<T> {
  readonly #abort = new AbortController();
  readonly #result: Promise<T>;
  #waiting = 0;
  #settled = false;

  constructor(work: (signal: AbortSignal) => Promise<T>) {
    this.#result = work(this.#abort.signal).finally(() => {
      this.#settled = true;
    });
    // Whoever waits sees the failure; when all have left, nobody needs to.
    this.#result.catch(() => undefined);
  }

  /** True once the last waiter has left work that was not done: who comes now must begin anew. */
  get abandoned(): boolean {
    return this.#abort.signal.aborted;
  }

  async wait(signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    this.#waiting++;
    try {
      return await (signal ? this.#until(signal) : this.#result);
    } finally {
      this.#waiting--;
      if (this.#waiting === 0 && !this.#settled) this.#abort.abort(signal?.reason);
    }
  }

  #until(signal: AbortSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      const leave = (): void => reject(signal.reason);
      signal.addEventListener('abort', leave, { once: true });
      this.#result.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave));
    });
  }
}
