/** A signal that fires with the first of several. */
export interface JoinedSignal {
  readonly signal: AbortSignal;
  /** Lets go of the others: this signal never fires from then on. */
  part(): void;
}

/**
 * Joins signals for as long as something takes. `AbortSignal.any` would do where all of them are short-lived: Node keeps what it gives,
 * and everything that listens to it, for as long as one of them may still fire.
 */
export function joinSignals(...signals: readonly AbortSignal[]): JoinedSignal {
  const joined = new AbortController();
  const listeners = signals.map((signal) => {
    const fire = (): void => joined.abort(signal.reason);
    if (signal.aborted) fire();
    signal.addEventListener('abort', fire, { once: true });
    return { signal, fire };
  });
  return {
    signal: joined.signal,
    part: () => {
      for (const { signal, fire } of listeners) signal.removeEventListener('abort', fire);
    },
  };
}
