import type { MessagePort, Worker } from 'node:worker_threads';
import type { StillError } from '../errors.js';
import { errorOf, parseFailure } from './failure.js';
import { fields, unexpected, whole } from './fields.js';
import { WorkerLife } from './worker-life.js';

/** From who asks to the worker. */
export type ToWorker =
  | { readonly kind: 'request'; readonly id: number; readonly data: unknown }
  | { readonly kind: 'abort'; readonly id: number }
  | { readonly kind: 'ping' };

/** How long a worker may take to end in good order what nobody waits for any more, milliseconds. */
const patience = 2000;

export interface WorkerServiceOptions {
  /** What is worked on, for messages. */
  readonly name: string;
  /** A worker whose module calls `answerRequests`. */
  readonly worker: Worker;
  /** Seconds that the worker may be silent while something is asked of it. */
  readonly silence: number;
  /** Whether the worker owes something beside answers to requests. */
  readonly awaited?: () => boolean;
  /** Called once when the worker is no more, with the reason. */
  readonly failed?: (reason: StillError) => void;
}

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (reason: unknown) => void;
  readonly signal: AbortSignal;
}

/**
 * Asks a worker for one thing after the other, or several at a time. What a thing itself fails with is what `ask` rejects with; EIO
 * where the worker crashes, needs more memory than it may have, or hangs: then and from then on.
 */
export class WorkerService {
  readonly #worker: Worker;
  readonly #life: WorkerLife;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #broken: StillError | undefined;

  constructor({ name, worker, silence, awaited = () => false, failed }: WorkerServiceOptions) {
    this.#worker = worker;
    this.#life = new WorkerLife({
      name,
      worker,
      silence,
      ping: () => this.#send({ kind: 'ping' }),
      awaited: () => this.#waiting.size > 0 || awaited(),
      failed: (reason) => {
        this.#broken = reason;
        for (const waiting of this.#waiting.values()) waiting.reject(reason);
        this.#waiting.clear();
        failed?.(reason);
      },
    });
    worker.on('message', (message: unknown) => {
      this.#life.heard();
      try {
        this.#receive(message);
      } catch (error) {
        this.#life.fail('sent what can not be understood', error);
      }
    });
  }

  /**
   * `data` is cloned, but for the ports in it, which `transfer` names. After an abort this waits for the worker to end in good
   * order what it began; one that does not is ended.
   */
  async ask(data: unknown, transfer: readonly MessagePort[], signal: AbortSignal): Promise<unknown> {
    signal.throwIfAborted();
    if (this.#broken) throw this.#broken;
    const id = ++this.#lastId;
    let late: NodeJS.Timeout | undefined;
    const abort = (): void => {
      this.#send({ kind: 'abort', id });
      late = setTimeout(() => this.#life.fail('did not stop when it was told to'), patience);
    };
    signal.addEventListener('abort', abort, { once: true });
    try {
      return await new Promise<unknown>((resolve, reject) => {
        this.#waiting.set(id, { resolve, reject, signal });
        this.#send({ kind: 'request', id, data }, transfer);
      });
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    } finally {
      clearTimeout(late);
      signal.removeEventListener('abort', abort);
      this.#waiting.delete(id);
    }
  }

  /** To be called with what comes from the worker by another way: it lives. */
  heard(): void {
    this.#life.heard();
  }

  /** Ends the worker because of what came from it by another way. */
  fail(happened: string, cause: unknown): void {
    this.#life.fail(happened, cause);
  }

  /** Ends the worker; what is under way is EIO. */
  end(): Promise<void> {
    return this.#life.end();
  }

  #send(message: ToWorker, transfer: readonly MessagePort[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  #receive(message: unknown): void {
    const from = fields(message);
    if (from.kind === 'pong') return;
    const waiting = this.#waiting.get(whole(from.id, 'id'));
    if (from.kind === 'done') waiting?.resolve(from.value);
    else if (from.kind === 'failed')
      waiting?.reject(errorOf(parseFailure(from.failure), waiting.signal.reason));
    else unexpected('kind');
  }
}
