/** How many beats may be missed. Time that this thread was held up itself does not count. */
const beats = 5;

export interface PulseOptions {
  /** Seconds that the other thread may be silent while something is asked of it. */
  readonly silence: number;
  /** Asks the other thread for a sign of life. */
  readonly ping: () => void;
  /** Whether it owes an answer. */
  readonly awaited: () => boolean;
  /** Called when it has been silent too long. */
  readonly silent: () => void;
}

/** Notices when another thread of this program hangs. */
export class Pulse {
  readonly #options: PulseOptions;
  readonly #timer: NodeJS.Timeout;
  #missed = 0;

  constructor(options: PulseOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#beat(), (options.silence * 1000) / beats);
    this.#timer.unref();
  }

  /** To be called with everything that comes from the other thread. */
  heard(): void {
    this.#missed = 0;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #beat(): void {
    if (!this.#options.awaited()) {
      this.#missed = 0;
    } else if (this.#missed === beats) {
      this.#options.silent();
    } else {
      this.#missed++;
      this.#options.ping();
    }
  }
}
