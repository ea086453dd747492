/** The signals that ask the program to end: the first one in good order, the second one at once. */
export interface StopSignals {
  readonly asked: AbortSignal;
  readonly forced: AbortSignal;
  /** Asks, as a signal would. */
  ask(why: string): void;
  /** Gives the signals back to their usual meaning. */
  release(): void;
}

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export function stopSignals(): StopSignals {
  const asked = new AbortController();
  const forced = new AbortController();
  const ask = (why: string): void => {
    const reason = new Error(`ended by ${why}`);
    if (asked.signal.aborted) forced.abort(reason);
    else asked.abort(reason);
  };
  for (const signal of signals) process.on(signal, ask);
  return {
    asked: asked.signal,
    forced: forced.signal,
    ask,
    release: () => {
      for (const signal of signals) process.off(signal, ask);
    },
  };
}

/** Settles when a signal is aborted. Never rejects. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** Rejects with a signal's reason when it is aborted; never resolves. */
export function failsWith(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
