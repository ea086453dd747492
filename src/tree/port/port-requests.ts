import type { MessagePort, Transferable, Worker } from 'node:worker_threads';
import { BusyPoll } from '../../busy-poll.js';
import type { StillError } from '../../errors.js';
import { errorOf } from '../../port/failure.js';
import type { Request, ToClient, ToServer } from './messages.js';

/** What an answer takes that needs no work to speak of, milliseconds. */
const mostAnswerTime = 0.2;

/** What is waited for: the answer to one request. */
interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly signal: AbortSignal | undefined;
}

/** What becomes of an answer that nobody waits for any more. */
type Late = (value: unknown) => void;

const drop: Late = () => undefined;

/** What is asked through the port of a hosted tree, until it is answered: one message there and one back. */
export class PortRequests {
  readonly #port: MessagePort | Worker;
  readonly #busyPoll = new BusyPoll(mostAnswerTime);
  readonly #waiting = new Map<number, Waiting>();
  /** Requests that nobody waits for any more, until they are answered. */
  readonly #abandoned = new Map<number, Late>();
  #lastId = 0;
  #received = 0;
  #broken: StillError | undefined;

  constructor(port: MessagePort | Worker) {
    this.#port = port;
  }

  /** Whether the other end owes an answer. */
  get awaited(): boolean {
    return this.#waiting.size + this.#abandoned.size > 0;
  }

  /** Why nothing will ever come from the port again. */
  get broken(): StillError | undefined {
    return this.#broken;
  }

  /** The number of the last answer that has arrived. */
  get received(): number {
    return this.#received;
  }

  /** Also where an answer is at hand, it is the hosted tree's: one that is gone, or a caller that is, has none. */
  mustBeServed(signal: AbortSignal | undefined): void {
    signal?.throwIfAborted();
    if (this.#broken) throw this.#broken;
  }

  answered(message: Extract<ToClient, { kind: 'answer' | 'failure' }>): void {
    this.#received = message.number;
    if (message.kind === 'answer') {
      this.#settle(message.id, (waiting) => waiting.resolve(message.value), message.value);
      return;
    }
    this.#settle(message.id, (waiting) =>
      waiting.reject(errorOf(message.failure, waiting.signal?.aborted ? waiting.signal.reason : undefined)),
    );
  }

  /** Every request fails, now and later. */
  break(reason: StillError): void {
    this.#broken = reason;
    for (const waiting of this.#waiting.values()) waiting.reject(reason);
    this.#waiting.clear();
    this.#abandoned.clear();
  }

  /** Tells what nobody waits for. */
  tell(message: Exclude<ToServer, { kind: 'request' | 'abort' }>): void {
    if (!this.#broken) this.#send(message);
  }

  /** Sends a request and waits for the answer, or for the signal. `late`: what becomes of an answer after that. */
  async ask(
    request: Request,
    signal: AbortSignal | undefined,
    transferred: readonly Transferable[] = [],
    late: Late = drop,
  ): Promise<unknown> {
    const id = this.#request(request, signal, transferred);
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        this.#waiting.delete(id);
        this.#abandoned.set(id, late);
        this.#send({ kind: 'abort', id });
        reject(signal?.reason);
      };
      signal?.addEventListener('abort', abort, { once: true });
      const settled = <T>(settle: (value: T) => void) => {
        return (value: T): void => {
          signal?.removeEventListener('abort', abort);
          settle(value);
        };
      };
      this.#waiting.set(id, { resolve: settled(resolve), reject: settled(reject), signal });
    });
  }

  /** Sends a request that changes something and waits for the answer, also after an abort: it tells what was done. */
  async change(
    request: Request,
    signal: AbortSignal,
    transferred: readonly Transferable[] = [],
  ): Promise<unknown> {
    const id = this.#request(request, signal, transferred);
    const abort = (): void => this.#send({ kind: 'abort', id });
    signal.addEventListener('abort', abort, { once: true });
    try {
      return await new Promise((resolve, reject) => {
        this.#waiting.set(id, { resolve, reject, signal });
      });
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  #request(
    request: Request,
    signal: AbortSignal | undefined,
    transferred: readonly Transferable[] = [],
  ): number {
    this.mustBeServed(signal);
    const id = ++this.#lastId;
    this.#send({ kind: 'request', id, received: this.#received, request }, transferred);
    this.#busyPoll.awaiting();
    return id;
  }

  #settle(id: number, settle: (waiting: Waiting) => void, value?: unknown): void {
    const waiting = this.#waiting.get(id);
    if (waiting) {
      this.#waiting.delete(id);
      settle(waiting);
      return;
    }
    const late = this.#abandoned.get(id);
    this.#abandoned.delete(id);
    if (value !== undefined) late?.(value);
  }

  #send(message: ToServer, transferred: readonly Transferable[] = []): void {
    this.#port.postMessage(message, transferred);
  }
}
