import { StillError } from '../../src/errors.js';

/**
 * Operations that libfuse waits for. The package passes no interrupts on, so nobody else could ever end a wait: each
 * has a limit of its own. One that reaches it, or the mount's end, is answered at once, whether or not its work heeds
 * the signal; what that work says later is heard by nobody.
 */
export class UnderWay {
  readonly #aborts = new Set<AbortController>();
  #ended: StillError | undefined;

  get size(): number {
    return this.#aborts.size;
  }

  /** Rejects with ETIMEDOUT after so many milliseconds, with ECONNABORTED once the mount has ended. */
  run<T>(milliseconds: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (this.#ended) return Promise.reject(this.#ended);
    const abort = new AbortController();
    const { signal } = abort;
    this.#aborts.add(abort);
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => {
        abort.abort(new StillError('ETIMEDOUT', `there was no answer in ${milliseconds / 1000} s`));
      }, milliseconds);
      signal.addEventListener(
        'abort',
        () => {
          reject(signal.reason);
          settle();
        },
        { once: true },
      );
      const settle = (): void => {
        clearTimeout(timer);
        this.#aborts.delete(abort);
      };
      work(signal).then(resolve, reject).finally(settle);
    });
  }

  /** Ends every wait, and all that come. */
  end(reason: StillError): void {
    this.#ended ??= reason;
    for (const abort of this.#aborts) abort.abort(reason);
  }
}
