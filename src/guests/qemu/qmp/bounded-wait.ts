/** How long something may be waited for. */
export interface WaitLimits {
  /** Ends the wait at once, with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Ends the wait, with ETIMEDOUT; without it there is no end but the connection's. */
  readonly deadlineMilliseconds?: number | undefined;
}

/**
 * A wait that ends when `begin` says so, when the signal fires, or at the deadline. `begin` is not called when the signal has
 * fired already; what it gives back is called once when the wait is over, however it ended.
 */
export function boundedWait<T>(
  { signal, deadlineMilliseconds }: WaitLimits,
  late: (milliseconds: number) => Error,
  begin: (resolve: (value: T) => void, reject: (error: unknown) => void) => () => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    let over: (() => void) | undefined;
    let done = false;
    const end = (settle: () => void): void => {
      if (done) return;
      done = true;
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      over?.();
      settle();
    };
    const abort = (): void => end(() => reject(signal?.reason));
    const timer =
      deadlineMilliseconds === undefined
        ? undefined
        : setTimeout(() => end(() => reject(late(deadlineMilliseconds))), deadlineMilliseconds);
    signal?.addEventListener('abort', abort, { once: true });
    over = begin(
      (value) => end(() => resolve(value)),
      (error) => end(() => reject(error)),
    );
    if (done) over();
  });
}
