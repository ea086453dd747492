import { setTimeout as delay } from 'node:timers/promises';

/** Holds all that is read in a job to so many bytes a second. */
export class Bandwidth {
  /** When all that was admitted so far has had its time, in milliseconds of `performance.now()`. */
  #busyUntil = 0;

  /** Undefined: no limit. */
  constructor(private readonly bytesPerSecond: number | undefined) {}

  get isLimited(): boolean {
    return this.bytesPerSecond !== undefined;
  }

  /** Waits until so many bytes may be read. */
  async admit(bytes: number, signal: AbortSignal): Promise<void> {
    if (this.bytesPerSecond === undefined) return;
    const now = performance.now();
    const begin = Math.max(now, this.#busyUntil);
    this.#busyUntil = begin + (bytes / this.bytesPerSecond) * 1000;
    if (begin > now) await delay(begin - now, undefined, { signal });
  }
}
