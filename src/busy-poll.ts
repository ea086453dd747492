/**
 * Keeps the event loop awake for a moment where the next message follows closely: the wake-up of a thread that sleeps takes
 * longer than most of what is asked of it. Where messages come seldom, and while one is worked on, the loop sleeps as ever. QEMU does
 * the same by its `poll-max-ns`.
 */
export class BusyPoll {
  readonly #most: number;
  #until = 0;
  #replied = Number.NEGATIVE_INFINITY;
  #closely = false;
  #turning = false;

  /** `most`: for how long the loop stays awake, milliseconds. */
  constructor(most: number) {
    this.#most = most;
  }

  /** To be called with every request that has come. */
  arrived(): void {
    this.#closely = performance.now() - this.#replied < this.#most;
    this.#until = 0;
  }

  /** To be called with every reply that was sent: where the request had come closely, the next one may as well. */
  replied(): void {
    this.#replied = performance.now();
    if (this.#closely) this.#stayAwake();
  }

  /** To be called when an answer is waited for that mostly comes soon. */
  awaiting(): void {
    this.#stayAwake();
  }

  #stayAwake(): void {
    this.#until = performance.now() + this.#most;
    if (this.#turning) return;
    this.#turning = true;
    setImmediate(this.#turn);
  }

  /** While something waits for the loop's next turn, the loop looks for messages without sleeping. */
  readonly #turn = (): void => {
    if (performance.now() < this.#until) setImmediate(this.#turn);
    else this.#turning = false;
  };
}
