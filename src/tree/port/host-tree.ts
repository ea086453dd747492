import type { MessagePort, Worker } from 'node:worker_threads';
import { messageOf, StillError } from '../../errors.js';
import { errorOf } from '../../port/failure.js';
import { Pulse } from '../../port/pulse.js';
import type { Tree } from '../tree.js';
import type { ToClient, ToServer } from './messages.js';
import { parseToClient } from './parse.js';
import { PortTree } from './port-tree.js';

/** How a tree is hosted. */
export interface HostOptions {
  /** What the tree is of, for messages. */
  readonly name: string;
  /** A worker whose module calls `serveHosted`, which this takes over. */
  readonly worker: Worker;
  /** What the tree is made from. It is cloned, but for the ports in it, which `transfer` names. */
  readonly data: unknown;
  readonly transfer?: readonly MessagePort[];
  /** Seconds that the worker may be silent while something is asked of it, before it is ended. */
  readonly silence: number;
  readonly signal?: AbortSignal;
  /** Called once when the worker has ended, whatever ended it; `close` waits for it. */
  readonly ended?: () => Promise<void>;
}

/** How long a worker may take to end what it has begun for a tree that nobody waits for, milliseconds. */
const patience = 2000;

/**
 * Makes a tree in a worker of its own, so that what parses a guest's bytes can neither hold up nor take down the rest.
 * Rejects with what making it failed with. Closing the tree ends the worker.
 *
 * A worker that crashes, ends, takes too much memory or is silent too long is ended; every operation on its tree, under
 * way or later, is EIO with the reason, and no other tree is touched. The tree has no grafts and no `passthrough`.
 */
export async function hostTree(options: HostOptions): Promise<Tree> {
  options.signal?.throwIfAborted();
  const host = new Host(options);
  const abort = (): void => host.giveUp();
  options.signal?.addEventListener('abort', abort, { once: true });
  try {
    const tree = await host.ready;
    options.signal?.throwIfAborted();
    return tree;
  } catch (error) {
    await host.end();
    options.signal?.throwIfAborted();
    throw error;
  } finally {
    options.signal?.removeEventListener('abort', abort);
  }
}

class Host {
  readonly #options: HostOptions;
  readonly #worker: Worker;
  /** The limit of its heap, MiB. */
  readonly #memory: number | undefined;
  readonly #exited: Promise<void>;
  /** Settles once: with the tree, or with what kept it from being made. */
  readonly ready: Promise<Tree>;
  #made: (tree: Tree) => void = () => undefined;
  #unmade: (reason: unknown) => void = () => undefined;
  readonly #pulse: Pulse;
  #tree: PortTree | undefined;
  #failed = false;

  constructor(options: HostOptions) {
    this.#options = options;
    this.ready = new Promise((resolve, reject) => {
      this.#made = resolve;
      this.#unmade = reject;
    });
    this.#worker = options.worker;
    // Node forgets it when the worker ends.
    this.#memory = options.worker.resourceLimits?.maxOldGenerationSizeMb;
    this.#worker.on('message', (message: unknown) => this.#receive(message));
    this.#worker.on('messageerror', (error) => this.fail('sent what can not be read', error));
    this.#worker.on('error', (error) => this.#crashed(error));
    this.#exited = new Promise((resolve) => {
      this.#worker.once('exit', (code) => {
        this.fail(`ended with code ${code}`);
        resolve(options.ended?.());
      });
    });
    const make: ToServer = { kind: 'make', data: options.data };
    this.#worker.postMessage(make, options.transfer ?? []);
    this.#pulse = new Pulse({
      silence: options.silence,
      ping: () => {
        const ping: ToServer = { kind: 'ping' };
        this.#worker.postMessage(ping);
      },
      awaited: () => this.#tree === undefined || this.#tree.awaited,
      silent: () => this.fail(`was silent for ${options.silence} seconds; it was ended`),
    });
  }

  /** Asks the worker to stop making the tree; one that does not answer soon is ended. */
  giveUp(): void {
    const unmake: ToServer = { kind: 'unmake' };
    this.#worker.postMessage(unmake);
    const late = setTimeout(() => this.fail('was given up'), patience);
    void this.#exited.then(() => clearTimeout(late));
  }

  /** Makes every operation on the tree fail, and ends the worker. */
  fail(happened: string, cause?: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    const reason = new StillError('EIO', `the worker that reads ${this.#options.name} ${happened}`, {
      cause,
    });
    this.#tree?.break(reason);
    this.#unmade(reason);
    // Its exit is what `end` waits for.
    void this.#worker.terminate();
    this.#pulse.stop();
  }

  async end(): Promise<void> {
    this.fail('was ended');
    await this.#exited;
  }

  #receive(message: unknown): void {
    this.#pulse.heard();
    try {
      this.#hear(parseToClient(message));
    } catch (error) {
      this.fail('sent what can not be understood', error);
    }
  }

  #hear(message: ToClient): void {
    if (message.kind === 'unmade') {
      this.#unmade(errorOf(message.failure, undefined));
    } else if (message.kind === 'ready') {
      this.#tree = new PortTree(this.#worker, message.root, message.operations, () => this.end());
      this.#made(this.#tree);
    } else {
      this.#tree?.receive(message);
    }
  }

  #crashed(error: unknown): void {
    const outOfMemory =
      error instanceof Error && 'code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY';
    if (outOfMemory) this.fail(`needed more than the ${this.#memory} MiB that it may have`);
    else this.fail(`crashed: ${messageOf(error)}`, undefined);
  }
}
