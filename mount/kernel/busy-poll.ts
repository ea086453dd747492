/** A request that comes within this time after a reply is followed by others like it, milliseconds. */
const most = 0.1;

/**
 * Keeps the event loop awake for a moment after a reply where the next request follows closely, as that of one reader
 * does: the wake-up of a thread that sleeps takes longer than most requests. Where requests come seldom, and while one is worked on, the loop
 * sleeps as ever. QEMU does the same by its `poll-max-ns`.
 */
export class BusyPoll {
  #replied = Number.NEGATIVE_INFINITY;
  #closely = false;
  #turning = false;

  /** To be called with every request that has come. */
  arrived(): void {
    this.#closely = performance.now() - this.#replied < most;
    this.#replied = Number.NEGATIVE_INFINITY;
  }

  /** To be called with every reply that was sent. */
  replied(): void {
    this.#replied = performance.now();
    if (!this.#closely || this.#turning) return;
    this.#turning = true;
    setImmediate(this.#turn);
  }

  /** While something waits for the loop's next turn, the loop looks for requests without sleeping. */
  readonly #turn = (): void => {
    if (performance.now() - this.#replied < most) setImmediate(this.#turn);
    else this.#turning = false;
  };
}
