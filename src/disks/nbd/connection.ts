import { StillError } from '../../errors.js';
import type { Dialler } from './address.js';
import { type Export, negotiate } from './negotiation.js';
import { broken, Command, CommandFlag, ExportFlag, encodeRequest, type StatusRun } from './protocol.js';
import { requestInWords } from './refusal.js';
import { Replies } from './replies.js';
import { type Answer, Request } from './request.js';
import { SilenceWatch } from './silence-watch.js';
import { Wire } from './wire.js';

/** Of so many refused requests it is known that something may still come. */
const mostRefused = 1000;

/** What a connection is to be. */
export interface ConnectionTerms {
  readonly exportName: string;
  /** Names of the meta contexts that are wanted. */
  readonly contexts: readonly string[];
  /** Milliseconds for getting connected, and that the server may say nothing afterwards while a request waits. */
  readonly silence: number;
  /** Milliseconds for each request; none: as long as the server is not silent. */
  readonly deadline: number | undefined;
  /** Whether duplicates of the socket must stay connected: see Wire. */
  readonly held: boolean;
}

interface Asking {
  readonly flags?: number;
  /** Where a read's bytes go. */
  readonly target?: Uint8Array;
  /** The bytes of a write. */
  readonly payload?: Uint8Array;
  readonly signal?: AbortSignal | undefined;
}

interface UnderWay {
  readonly request: Request;
  /** Nobody waits any more: its reply only goes by. */
  abandoned: boolean;
  resolve(answer: Answer): void;
  reject(error: unknown): void;
}

/**
 * One connection to an NBD server, with as many requests under way as are asked for. When it fails, so do all its
 * requests, with the reason, and it is done with.
 */
export class NbdConnection {
  readonly served: Export;
  readonly #wire: Wire;
  readonly #terms: ConnectionTerms;
  readonly #watch: SilenceWatch;
  readonly #underWay = new Map<number, UnderWay>();
  /** Requests for block status that were refused, by their cookies: what still comes for them goes by. */
  readonly #refused = new Map<number, Request>();
  #cookie = 0;
  #failure: StillError | undefined;

  private constructor(wire: Wire, served: Export, terms: ConnectionTerms) {
    this.served = served;
    this.#wire = wire;
    this.#terms = terms;
    this.#watch = new SilenceWatch(terms.silence, () =>
      wire.fail(new StillError('EIO', `the NBD server said nothing for ${terms.silence} ms`)),
    );
    wire.heard = () => this.#watch.heard();
    wire.lost = (error) => this.#lost(error);
    new Replies(
      wire.inbox,
      { request: (cookie) => this.#request(cookie), answered: (cookie) => this.#answered(cookie) },
      new Set(served.contexts.values()),
      served.extended,
    ).start();
  }

  /** Connects and negotiates. Whatever stops it leaves no socket behind. */
  static async open(dialler: Dialler, terms: ConnectionTerms, signal?: AbortSignal): Promise<NbdConnection> {
    signal?.throwIfAborted();
    const stopping = new AbortController();
    const lateness = new StillError(
      'EIO',
      `the NBD server at ${dialler.name} did not answer within ${terms.silence} ms`,
    );
    const timer = setTimeout(() => stopping.abort(lateness), terms.silence);
    const abort = (): void => stopping.abort(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    let wire: Wire | undefined;
    try {
      wire = await Wire.open(dialler, terms.held, stopping.signal);
      const opened = wire;
      stopping.signal.addEventListener('abort', () => opened.fail(stoppedOpening(stopping.signal.reason)));
      const served = await negotiate(wire, terms.exportName, terms.contexts);
      stopping.signal.throwIfAborted();
      return new NbdConnection(wire, served, terms);
    } catch (error) {
      wire?.fail(stoppedOpening(error));
      throw stopping.signal.aborted ? stopping.signal.reason : error;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    }
  }

  /** Why it is done with. */
  get failure(): StillError | undefined {
    return this.#failure;
  }

  /** How many requests the server has. */
  get load(): number {
    return this.#underWay.size;
  }

  /** Reads into the whole of `target`. */
  async read(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    await this.#ask(Command.read, offset, target.byteLength, { target, signal });
  }

  /** The status runs of a range, by the name of their meta context: at least one run of each that was agreed on. */
  async status(
    offset: number,
    length: number,
    signal?: AbortSignal,
  ): Promise<ReadonlyMap<string, readonly StatusRun[]>> {
    const answer = await this.#ask(Command.blockStatus, offset, length, { signal });
    return new Map([...this.served.contexts].map(([name, number]) => [name, answer.get(number) ?? []]));
  }

  async trim(offset: number, length: number, signal?: AbortSignal): Promise<void> {
    this.#must(ExportFlag.sendTrim, 'trim');
    await this.#ask(Command.trim, offset, length, { signal });
  }

  /** `payload` must stay as it is until the connection has answered or failed, even after an abort. */
  async write(offset: number, payload: Uint8Array, fua: boolean, signal?: AbortSignal): Promise<void> {
    if (fua) this.#must(ExportFlag.sendFua, 'FUA');
    await this.#ask(Command.write, offset, payload.byteLength, {
      payload,
      flags: (fua ? CommandFlag.fua : 0) | (this.served.extended ? CommandFlag.payload : 0),
      signal,
    });
  }

  /** `noHole`: keep the space allocated. */
  async writeZeroes(
    offset: number,
    length: number,
    how: { readonly fua: boolean; readonly noHole: boolean },
    signal?: AbortSignal,
  ): Promise<void> {
    this.#must(ExportFlag.sendWriteZeroes, 'zeroing');
    if (how.fua) this.#must(ExportFlag.sendFua, 'FUA');
    const flags = (how.fua ? CommandFlag.fua : 0) | (how.noHole ? CommandFlag.noHole : 0);
    await this.#ask(Command.writeZeroes, offset, length, { flags, signal });
  }

  async flush(signal?: AbortSignal): Promise<void> {
    this.#must(ExportFlag.sendFlush, 'flush');
    await this.#ask(Command.flush, 0, 0, { signal });
  }

  /** Takes leave of the server (of a held socket: without a word). Requests under way fail. */
  async close(reason = new StillError('EBADF', 'the NBD connection was closed')): Promise<void> {
    const request = { type: Command.disconnect, flags: 0, cookie: 0, offset: 0, length: 0 };
    await this.#wire.leave(encodeRequest(request, this.served.extended), reason);
  }

  #must(flag: number, what: string): void {
    if ((this.served.flags & flag) === 0)
      throw new StillError('EOPNOTSUPP', `the NBD server does not offer ${what} for this export`);
  }

  /** What is no multiple of the smallest block can make a server do anything: QEMU aborts on some. */
  #mustBeAligned(type: number, offset: number, length: number): void {
    const { minimumBlock, size } = this.served;
    const atEnd = offset + length === size;
    if (offset % minimumBlock !== 0 || (length % minimumBlock !== 0 && !atEnd)) {
      throw new StillError(
        'EINVAL',
        `a ${requestInWords(type, offset, length)} is not in whole blocks of ${minimumBlock} bytes`,
      );
    }
  }

  #ask(type: number, offset: number, length: number, asking: Asking): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#failure) throw this.#failure;
      asking.signal?.throwIfAborted();
      this.#mustBeAligned(type, offset, length);
      this.#cookie++;
      const cookie = this.#cookie;
      const { flags = 0, target, payload, signal } = asking;
      const header = encodeRequest({ type, flags, cookie, offset, length }, this.served.extended);

      const settle = (): void => {
        signal?.removeEventListener('abort', abort);
        clearTimeout(timer);
        if (!underWay.abandoned) this.#watch.end();
      };
      const underWay: UnderWay = {
        request: new Request(type, offset, length, target),
        abandoned: false,
        resolve: (answer) => {
          settle();
          resolve(answer);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
      const abandon = (error: unknown): void => {
        underWay.reject(error);
        underWay.abandoned = true;
      };
      const abort = (): void => abandon(signal?.reason);
      const { deadline } = this.#terms;
      const late = (): void =>
        abandon(
          new StillError(
            'ETIMEDOUT',
            `the NBD server did not answer a ${requestInWords(type, offset, length)} within ${deadline} ms`,
          ),
        );
      const timer = deadline === undefined ? undefined : setTimeout(late, deadline);
      signal?.addEventListener('abort', abort, { once: true });
      this.#underWay.set(cookie, underWay);
      this.#watch.begin();
      if (payload) this.#wire.send(header, payload);
      else this.#wire.send(header);
    });
  }

  #request(cookie: number): Request {
    return this.#refused.get(cookie) ?? this.#of(cookie).request;
  }

  #of(cookie: number): UnderWay {
    const underWay = this.#underWay.get(cookie);
    if (!underWay) throw broken(`a reply to request ${cookie}, which is not under way`);
    return underWay;
  }

  #answered(cookie: number): void {
    if (this.#refused.delete(cookie)) return;
    const underWay = this.#of(cookie);
    const { request } = underWay;
    if (!request.error) {
      // Thrown while it is still under way, so that it fails with all the others.
      if (!request.complete) throw broken('less data than was asked for');
      if (request.type === Command.blockStatus && request.answer.size < this.served.contexts.size)
        throw broken('no block status of a context that was agreed on');
    }
    this.#underWay.delete(cookie);
    if (request.error && request.type === Command.blockStatus) this.#remember(cookie, request);
    if (request.error) underWay.reject(request.error);
    else underWay.resolve(request.answer);
    // The protocol asks the client to go then.
    if (request.shuttingDown)
      void this.close(new StillError('EIO', 'the NBD server is shutting down', { cause: request.error }));
  }

  /** QEMU ends its reply with the error of one context, and then tells of the others all the same (7.2). */
  #remember(cookie: number, request: Request): void {
    if (this.served.contexts.size < 2) return;
    this.#refused.set(cookie, request);
    const [oldest] = this.#refused.keys();
    if (oldest !== undefined && this.#refused.size > mostRefused) this.#refused.delete(oldest);
  }

  #lost(error: StillError): void {
    this.#failure = error;
    for (const underWay of this.#underWay.values()) underWay.reject(error);
    this.#underWay.clear();
    this.#watch.stop();
  }
}

function stoppedOpening(reason: unknown): StillError {
  if (reason instanceof StillError) return reason;
  return new StillError('EINTR', 'opening an NBD connection was given up', { cause: reason });
}
