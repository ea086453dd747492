import { setTimeout as wait } from 'node:timers/promises';
import { StillError } from '../../errors.js';
import { SharedWait } from '../../shared-wait.js';
import { type Dialler, dialler, type NbdAddress } from './address.js';
import { type ConnectionTerms, NbdConnection } from './connection.js';
import type { Export } from './negotiation.js';
import { ExportFlag } from './protocol.js';

/** How an NBD export is reached. */
export interface NbdConnectionOptions {
  readonly address: NbdAddress;
  /** The export's name. */
  readonly exportName: string;
  /** How many connections at most, where the server lets several see the same bytes. Default 2. */
  readonly connections?: number;
  /** Milliseconds for getting connected, and that the server may say nothing while a request waits. Default 60 000. */
  readonly silence?: number;
  /** Milliseconds for each request, after which it fails with ETIMEDOUT. Default: none. */
  readonly deadline?: number;
  /**
   * Whether lost connections are made anew, and what was asked for without effect on the disk is asked again. Default
   * false: never, what is lost is EIO from then on.
   */
  readonly reconnect?: boolean;
  /**
   * Another process holds duplicates of the sockets, so that the server never sees them go: a close or a failure only
   * lets go of our descriptors, without a farewell and without shutting the connections down. Default false.
   */
  readonly held?: boolean;
}

const defaultSilence = 60_000;
const defaultConnections = 2;
/** How often a request is asked, the first time included. */
const mostAttempts = 3;
/** Milliseconds to wait before each attempt to connect anew. */
const pauses: readonly number[] = [0, 100, 1000];

/** The connections to one export, among which requests are spread. */
export class NbdConnections {
  readonly served: Export;
  readonly #options: NbdConnectionOptions;
  readonly #dialler: Dialler;
  readonly #terms: ConnectionTerms;
  readonly #wanted: number;
  #connections: NbdConnection[];
  #reopening: SharedWait<void> | undefined;
  readonly #closing = new AbortController();

  private constructor(
    options: NbdConnectionOptions,
    dialler: Dialler,
    terms: ConnectionTerms,
    first: NbdConnection,
  ) {
    this.served = first.served;
    this.#options = options;
    this.#dialler = dialler;
    this.#terms = terms;
    this.#connections = [first];
    const several = (first.served.flags & ExportFlag.canMultiConn) !== 0;
    this.#wanted = several ? Math.min(options.connections ?? defaultConnections, dialler.most) : 1;
  }

  static async open(
    options: NbdConnectionOptions,
    contexts: readonly string[],
    signal?: AbortSignal,
  ): Promise<NbdConnections> {
    if (options.held && options.reconnect)
      throw new StillError('EINVAL', 'held NBD connections are never made anew: choose one');
    const to = dialler(options.address);
    const terms: ConnectionTerms = {
      exportName: options.exportName,
      contexts,
      silence: options.silence ?? defaultSilence,
      deadline: options.deadline,
      held: options.held ?? false,
    };
    try {
      const opened = new NbdConnections(options, to, terms, await NbdConnection.open(to, terms, signal));
      try {
        await opened.#complete(signal);
        return opened;
      } catch (error) {
        await opened.close();
        throw error;
      }
    } finally {
      to.dropUnused();
    }
  }

  /** Asks for something that may be asked again on another connection where the first was lost on the way. */
  async repeatably<T>(ask: (connection: NbdConnection) => Promise<T>, signal?: AbortSignal): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      // Chosen and asked in one go: of several who choose before any has asked, all would choose the same.
      const connection = this.#idlest() ?? (await this.#anew(signal));
      try {
        return await ask(connection);
      } catch (error) {
        const lost = connection.failure !== undefined && !this.#closing.signal.aborted;
        if (!lost || !this.#options.reconnect || attempt === mostAttempts || signal?.aborted) throw error;
      }
    }
  }

  /** Asks once. After a loss it is not known whether it was done. */
  async once<T>(ask: (connection: NbdConnection) => Promise<T>, signal?: AbortSignal): Promise<T> {
    return ask(this.#idlest() ?? (await this.#anew(signal)));
  }

  /** Why the first of the connections that are gone was lost, where none is made anew. */
  get lost(): StillError | undefined {
    if (this.#options.reconnect) return undefined;
    return this.#connections.find(({ failure }) => failure !== undefined)?.failure;
  }

  async close(): Promise<void> {
    this.#closing.abort(closed());
    await Promise.all(this.#connections.map((connection) => connection.close()));
  }

  /** The connection with the fewest requests under way, where any is left. */
  #idlest(): NbdConnection | undefined {
    this.#closing.signal.throwIfAborted();
    let best: NbdConnection | undefined;
    for (const connection of this.#connections) {
      if (connection.failure === undefined && (!best || connection.load < best.load)) best = connection;
    }
    return best;
  }

  /** A connection made anew, once for all who wait for one. */
  async #anew(signal?: AbortSignal): Promise<NbdConnection> {
    if (this.lost)
      throw new StillError('EIO', 'the connection to the NBD server is lost', { cause: this.lost });
    if (!this.#reopening || this.#reopening.abandoned)
      this.#reopening = new SharedWait((end) => this.#reopen(end));
    const reopening = this.#reopening;
    try {
      await reopening.wait(signal);
    } finally {
      if (this.#reopening === reopening) this.#reopening = undefined;
    }
    return this.#idlest() ?? this.#anew(signal);
  }

  async #reopen(end: AbortSignal): Promise<void> {
    const stopping = new AbortController();
    const stop = (): void => stopping.abort(end.aborted ? end.reason : closed());
    end.addEventListener('abort', stop);
    this.#closing.signal.addEventListener('abort', stop);
    try {
      for (const [attempt, pause] of pauses.entries()) {
        try {
          await wait(pause, undefined, { signal: stopping.signal });
          this.#connections = [await this.#oneMore(stopping.signal)];
          break;
        } catch (error) {
          stopping.signal.throwIfAborted();
          if (attempt === pauses.length - 1) throw error;
        }
      }
      try {
        await this.#complete(stopping.signal);
      } catch {
        // One connection is enough to go on with.
        stopping.signal.throwIfAborted();
      }
    } finally {
      end.removeEventListener('abort', stop);
      this.#closing.signal.removeEventListener('abort', stop);
    }
  }

  async #complete(signal?: AbortSignal): Promise<void> {
    while (this.#connections.length < this.#wanted) this.#connections.push(await this.#oneMore(signal));
  }

  /** A connection to the very export that the first one led to, as far as can be told. */
  async #oneMore(signal?: AbortSignal): Promise<NbdConnection> {
    const connection = await NbdConnection.open(this.#dialler, this.#terms, signal);
    const { size, contexts, minimumBlock } = connection.served;
    let difference: string | undefined;
    if (size !== this.served.size)
      difference = `a disk of ${size} bytes, where it was ${this.served.size} bytes`;
    else if (minimumBlock > this.served.minimumBlock) difference = `blocks of ${minimumBlock} bytes`;
    else if ([...this.served.contexts.keys()].some((name) => !contexts.has(name)))
      difference = 'fewer meta contexts than before';
    if (difference !== undefined || this.#closing.signal.aborted) {
      await connection.close();
      this.#closing.signal.throwIfAborted();
      throw new StillError('EIO', `the NBD server at ${this.#dialler.name} exports ${difference}`);
    }
    return connection;
  }
}

function closed(): StillError {
  return new StillError('EBADF', 'the NBD disk is closed');
}
