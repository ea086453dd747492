/**
 * Notices that nothing was heard for a time while somebody waited. Silence counts from the later of the last byte and
 * the moment when somebody began to wait.
 */
export class SilenceWatch {
  readonly #milliseconds: number;
  readonly #expired: () => void;
  #timer: NodeJS.Timeout | undefined;
  #waiting = 0;
  #arrivals = 0;

  constructor(milliseconds: number, expired: () => void) {
    this.#milliseconds = milliseconds;
    this.#expired = expired;
  }

  /** One more waits. */
  begin(): void {
    this.#waiting++;
    this.#timer ??= setTimeout(() => this.#look(), this.#milliseconds);
  }

  /** One of those who wait has got what it waited for, or has left. */
  end(): void {
    this.#waiting--;
    if (this.#waiting === 0) this.stop();
  }

  heard(): void {
    this.#arrivals++;
    this.#timer?.refresh();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** After a time in which this process did not run, what came meanwhile is still to be read: one round more. */
  #look(): void {
    const { timer, arrivals } = { timer: this.#timer, arrivals: this.#arrivals };
    setImmediate(() => {
      if (timer !== undefined && timer === this.#timer && arrivals === this.#arrivals) this.#expired();
    });
  }
}
