import type { Worker } from 'node:worker_threads';
import { messageOf, StillError } from '../errors.js';
import { Pulse } from './pulse.js';

export interface WorkerLifeOptions {
  /** What is worked on, for messages. */
  readonly name: string;
  readonly worker: Worker;
  /** Seconds that the worker may be silent while something is asked of it, before it is ended. */
  readonly silence: number;
  /** Whether it owes an answer. */
  readonly awaited: () => boolean;
  /** Asks the worker for a sign of life. */
  readonly ping: () => void;
  /** Called once, when nothing will ever come from the worker again: EIO with the reason. */
  readonly failed: (reason: StillError) => void;
}

/** A worker's life: it ends by itself, by a crash, for want of memory, because it is silent, or when it is ended. */
export class WorkerLife {
  readonly #name: string;
  readonly #worker: Worker;
  /** The limit of its heap, MiB. */
  readonly #memory: number | undefined;
  readonly #pulse: Pulse;
  readonly #tell: (reason: StillError) => void;
  #failed = false;
  /** Settles when the worker has ended, whatever ended it. */
  readonly exited: Promise<void>;

  constructor({ name, worker, silence, awaited, ping, failed }: WorkerLifeOptions) {
    this.#name = name;
    this.#worker = worker;
    this.#tell = failed;
    // Node forgets it when the worker ends.
    this.#memory = worker.resourceLimits?.maxOldGenerationSizeMb;
    worker.on('messageerror', (error) => this.fail('sent what can not be read', error));
    worker.on('error', (error) => this.#crashed(error));
    this.exited = new Promise((resolve) => {
      worker.once('exit', (code) => {
        this.fail(`ended with code ${code}`);
        resolve();
      });
    });
    this.#pulse = new Pulse({
      silence,
      ping,
      awaited,
      silent: () => this.fail(`was silent for ${silence} seconds; it was ended`),
    });
  }

  /** To be called with everything that comes from the worker. */
  heard(): void {
    this.#pulse.heard();
  }

  /** Ends the worker, and tells why. */
  fail(happened: string, cause?: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#pulse.stop();
    this.#tell(new StillError('EIO', `the worker that reads ${this.#name} ${happened}`, { cause }));
    // Its exit is what `end` waits for.
    void this.#worker.terminate();
  }

  async end(): Promise<void> {
    this.fail('was ended');
    await this.exited;
  }

  #crashed(error: unknown): void {
    const outOfMemory =
      error instanceof Error && 'code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY';
    if (outOfMemory) this.fail(`needed more than the ${this.#memory} MiB that it may have`);
    else this.fail(`crashed: ${messageOf(error)}`);
  }
}
