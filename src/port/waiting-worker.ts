import { setFlagsFromString } from 'node:v8';
import { Worker } from 'node:worker_threads';

/**
 * A worker that has started before it is needed: to start one takes longer than to open most trees. While it waits it
 * keeps nothing alive; one that ends in that time is not missed.
 */
export class WaitingWorker {
  readonly #entry: URL;
  readonly #memory: number;
  #waiting: Worker | undefined;

  /** `entry`: the module that it runs; `memory`: the limit of its heap, MiB. */
  constructor(entry: URL, memory: number) {
    this.#entry = entry;
    this.#memory = memory;
  }

  /** Starts one, if none waits. */
  prepare(): void {
    if (this.#waiting) return;
    const worker = this.#started();
    this.#waiting = worker;
    worker.unref();
    const gone = (): void => {
      if (this.#waiting === worker) this.#waiting = undefined;
    };
    worker.on('error', gone);
    worker.on('exit', gone);
  }

  /** The one that waits, or a new one. Whoever takes it ends it. */
  take(): Worker {
    const worker = this.#waiting;
    this.#waiting = undefined;
    if (!worker) return this.#started();
    worker.removeAllListeners('error').removeAllListeners('exit');
    worker.ref();
    return worker;
  }

  async close(): Promise<void> {
    const worker = this.#waiting;
    this.#waiting = undefined;
    await worker?.terminate();
  }

  #started(): Worker {
    // V8 compiles a function when it is first called, unless it is told to compile all of a module at once. A worker that waits
    // has the time for it: who looks into the first disk must not wait for that.
    setFlagsFromString('--no-lazy');
    return new Worker(this.#entry, { resourceLimits: { maxOldGenerationSizeMb: this.#memory } });
  }
}
