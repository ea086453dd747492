/** How fast something goes, and when it will have come to its end. */
export interface Pace {
  readonly done: number;
  readonly total: number | undefined;
  readonly bytesPerSecond: number;
  /** Undefined where nobody knows. */
  readonly secondsLeft: number | undefined;
}

/** The rate tells of about this time, in milliseconds: long enough to be steady, short enough to follow. */
const windowMilliseconds = 10_000;

/** Follows how far one part of a job has come. */
export class PartRate {
  #samples: { readonly at: number; readonly done: number }[] = [];
  #total: number | undefined;

  note(done: number, total: number | undefined, now: number): void {
    this.#total = total;
    const last = this.#samples.at(-1);
    // A sample each tenth of the window is enough.
    if (last && this.#samples.length > 1 && now - last.at < windowMilliseconds / 10) this.#samples.pop();
    this.#samples.push({ at: now, done });
    while (this.#samples.length > 2 && now - (this.#samples[1]?.at ?? now) > windowMilliseconds)
      this.#samples.shift();
  }

  pace(now: number): Pace {
    const first = this.#samples[0];
    const done = this.#samples.at(-1)?.done ?? 0;
    const seconds = first ? (now - first.at) / 1000 : 0;
    const bytesPerSecond = first && seconds > 0 ? (done - first.done) / seconds : 0;
    const left = this.#total === undefined || bytesPerSecond === 0 ? undefined : this.#total - done;
    return {
      done,
      total: this.#total,
      bytesPerSecond,
      secondsLeft: left === undefined ? undefined : Math.max(0, left) / bytesPerSecond,
    };
  }
}
