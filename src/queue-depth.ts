/**
 * Bounds how many file calls are under way on one store. Node has a limited number of threads for file calls; a store
 * that never answers (a lost NFS server) may hold its own few, and nobody else's.
 */
export class QueueDepth {
  readonly #limit: number;
  #underWay = 0;
  readonly #waiting: Array<() => void> = [];

  constructor(limit: number) {
    if (!Number.isInteger(limit) || limit < 1)
      throw new RangeError(`a queue depth is a whole number above 0, not ${limit}`);
    this.#limit = limit;
  }

  /**
   * Runs a call when there is room. An abort ends the wait at once, also the wait for a call that has begun; that
   * call keeps its place until the system returns from it, and its late result goes to `discard`.
   */
  async run<T>(call: () => Promise<T>, signal?: AbortSignal, discard?: (late: T) => void): Promise<T> {
    signal?.throwIfAborted();
    if (this.#underWay < this.#limit) this.#underWay++;
    else await this.#place(signal);
    const running = call().finally(() => this.#leave());
    if (!signal) return running;
    return new Promise<T>((resolve, reject) => {
      let abandoned = false;
      const abort = (): void => {
        abandoned = true;
        reject(signal.reason);
      };
      signal.addEventListener('abort', abort, { once: true });
      running.then(
        (value) => {
          signal.removeEventListener('abort', abort);
          if (abandoned) discard?.(value);
          else resolve(value);
        },
        (error: unknown) => {
          signal.removeEventListener('abort', abort);
          reject(error);
        },
      );
    });
  }

  /** Waits until a call that ends hands its place over. */
  #place(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(enter), 1);
        reject(signal?.reason);
      };
      const enter = (): void => {
        signal?.removeEventListener('abort', abort);
        resolve();
      };
      signal?.addEventListener('abort', abort, { once: true });
      this.#waiting.push(enter);
    });
  }

  #leave(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#underWay--;
  }
}
