import type { MessagePort, Worker } from 'node:worker_threads';
import { errorOf } from '../../port/failure.js';
import { WorkerLife } from '../../port/worker-life.js';
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
  readonly #worker: Worker;
  readonly #life: WorkerLife;
  readonly #exited: Promise<void>;
  /** Settles once: with the tree, or with what kept it from being made. */
  readonly ready: Promise<Tree>;
  #made: (tree: Tree) => void = () => undefined;
  #unmade: (reason: unknown) => void = () => undefined;
  #tree: PortTree | undefined;

  constructor({ name, worker, data, transfer = [], silence, ended }: HostOptions) {
    this.ready = new Promise((resolve, reject) => {
      this.#made = resolve;
      this.#unmade = reject;
    });
    this.#worker = worker;
    this.#life = new WorkerLife({
      name,
      worker,
      silence,
      awaited: () => this.#tree === undefined || this.#tree.awaited,
      ping: () => this.#send({ kind: 'ping' }),
      failed: (reason) => {
        this.#tree?.break(reason);
        this.#unmade(reason);
      },
    });
    this.#exited = this.#life.exited.then(ended);
    worker.on('message', (message: unknown) => this.#receive(message));
    this.#send({ kind: 'make', data }, transfer);
  }

  /** Asks the worker to stop making the tree; one that does not answer soon is ended. */
  giveUp(): void {
    this.#send({ kind: 'unmake' });
    const late = setTimeout(() => this.#life.fail('was given up'), patience);
    void this.#exited.then(() => clearTimeout(late));
  }

  async end(): Promise<void> {
    await this.#life.end();
    await this.#exited;
  }

  #send(message: ToServer, transfer: readonly MessagePort[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  #receive(message: unknown): void {
    this.#life.heard();
    try {
      this.#hear(parseToClient(message));
    } catch (error) {
      this.#life.fail('sent what can not be understood', error);
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
}
