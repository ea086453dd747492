/** A request that comes within this time after the one before is followed by others like it, microseconds. */
const most = 100;

/**
 * Keeps the event loop awake for a moment where requests follow each other closely, as those of one reader do: the wake-up
 * of a thread that sleeps takes longer than most requests. Where they come seldom the loop sleeps as ever.
 */
export class BusyPoll {
  #last = 0;
  #turning = false;

  /** To be called with every request that has come. */
  arrived(): void {
    const now = performance.now();
    const closely = now - this.#last < most / 1000;
    this.#last = now;
    if (!closely || this.#turning) return;
    this.#turning = true;
    setImmediate(this.#turn);
  }

  /** While something waits for the loop's next turn, the loop looks for requests without sleeping. */
  readonly #turn = (): void => {
    if (performance.now() - this.#last < most / 1000) setImmediate(this.#turn);
    else this.#turning = false;
  };
}
