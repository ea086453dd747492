import type { Socket } from 'node:net';
import { StillError } from '../../errors.js';
import { connectUnix, Inbox } from './inbox.js';
import { type Export, negotiate } from './negotiation.js';
import {
  broken,
  Chunk,
  type ChunkHeader,
  Command,
  chunkIsError,
  encodeRequest,
  parseBlockStatus,
  parseChunk,
  parseErrorChunk,
  parseOffset,
  parseSimpleReply,
  type StatusRun,
  simpleReplyMagic,
  simpleReplyRest,
  structuredReplyMagic,
  structuredReplyRest,
} from './protocol.js';

/** The longest payload that is not data: status of many runs, an error's words. */
const longestPayload = 2 * 1024 * 1024;

interface UnderWay {
  readonly type: number;
  readonly offset: number;
  readonly length: number;
  readonly target: Uint8Array | undefined;
  /** Bytes of `target` that have come. */
  filled: number;
  error: StillError | undefined;
  readonly runs: Map<number, readonly StatusRun[]>;
  resolve(runs: ReadonlyMap<number, readonly StatusRun[]>): void;
  reject(error: unknown): void;
}

/**
 * One connection to an NBD server, with as many requests under way as are asked for. When it fails, so do all its
 * requests, with the reason, and it is done with.
 */
export class NbdConnection {
  readonly #socket: Socket;
  readonly #inbox: Inbox;
  readonly #silence: number;
  readonly #underWay = new Map<number, UnderWay>();
  readonly #word = Buffer.alloc(4);
  readonly #simple = Buffer.alloc(simpleReplyRest);
  readonly #chunk = Buffer.alloc(structuredReplyRest);
  #cookie = 0;
  #watch: NodeJS.Timeout | undefined;
  #failure: StillError | undefined;

  private constructor(
    socket: Socket,
    inbox: Inbox,
    readonly served: Export,
    silence: number,
  ) {
    this.#socket = socket;
    this.#inbox = inbox;
    this.#silence = silence;
    socket.on('error', (error) =>
      this.#fail(new StillError('EIO', 'the connection to the NBD server failed', { cause: error })),
    );
    socket.on('close', () => this.#fail(new StillError('EIO', 'the NBD server closed the connection')));
    this.#nextReply();
  }

  /** Connects and negotiates; EIO after so many milliseconds of silence, then and later. */
  static async open(
    path: string,
    exportName: string,
    contexts: readonly string[],
    silence: number,
    signal?: AbortSignal,
  ): Promise<NbdConnection> {
    const inbox = new Inbox();
    const socket = await connectUnix(path, inbox, signal);
    let stop: (error: unknown) => void = () => undefined;
    const stopped = new Promise<never>((_, reject) => {
      stop = reject;
    });
    const abort = (): void => stop(signal?.reason);
    const timer = setTimeout(
      () => stop(new StillError('EIO', `the NBD server at ${path} does not answer`)),
      silence,
    );
    const closed = (): void => stop(new StillError('EIO', `the NBD server at ${path} closed the connection`));
    signal?.addEventListener('abort', abort, { once: true });
    socket.on('error', stop);
    socket.on('close', closed);
    try {
      const served = await Promise.race([negotiate(socket, inbox, exportName, contexts), stopped]);
      socket.removeListener('close', closed);
      return new NbdConnection(socket, inbox, served, silence);
    } catch (error) {
      socket.destroy();
      throw error;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    }
  }

  get failed(): boolean {
    return this.#failure !== undefined;
  }

  get load(): number {
    return this.#underWay.size;
  }

  /** Reads into the whole of `target`. */
  async read(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    await this.#ask(Command.read, offset, target.byteLength, target, signal);
  }

  /** The status runs of a range, by the number of their meta context. */
  status(
    offset: number,
    length: number,
    signal?: AbortSignal,
  ): Promise<ReadonlyMap<number, readonly StatusRun[]>> {
    return this.#ask(Command.blockStatus, offset, length, undefined, signal);
  }

  async trim(offset: number, length: number, signal?: AbortSignal): Promise<void> {
    await this.#ask(Command.trim, offset, length, undefined, signal);
  }

  /** Takes leave of the server. Requests under way fail. */
  close(): void {
    if (this.#failure) return;
    this.#socket.end(encodeRequest(Command.disconnect, 0, 0, 0));
    this.#fail(new StillError('EBADF', 'the NBD connection was closed'));
  }

  #ask(
    type: number,
    offset: number,
    length: number,
    target: Uint8Array | undefined,
    signal?: AbortSignal,
  ): Promise<ReadonlyMap<number, readonly StatusRun[]>> {
    return new Promise((resolve, reject) => {
      if (this.#failure) {
        reject(this.#failure);
        return;
      }
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      this.#cookie++;
      // The reply to a request that nobody waits for still comes, into a target that was thrown away.
      const abort = (): void => reject(signal?.reason);
      signal?.addEventListener('abort', abort, { once: true });
      const done = (): void => signal?.removeEventListener('abort', abort);
      const request: UnderWay = {
        type,
        offset,
        length,
        target,
        filled: 0,
        error: undefined,
        runs: new Map(),
        resolve: (runs) => {
          done();
          resolve(runs);
        },
        reject: (error) => {
          done();
          reject(error);
        },
      };
      this.#underWay.set(this.#cookie, request);
      this.#watch ??= setTimeout(
        () => this.#fail(new StillError('EIO', `the NBD server said nothing for ${this.#silence} ms`)),
        this.#silence,
      );
      this.#socket.write(encodeRequest(type, this.#cookie, offset, length));
    });
  }

  #nextReply(): void {
    this.#inbox.expect(this.#word, () => {
      this.#watch?.refresh();
      const magic = this.#word.readUInt32BE(0);
      if (magic === structuredReplyMagic)
        this.#inbox.expect(this.#chunk, () => this.#takeChunk(parseChunk(this.#chunk)));
      else if (magic === simpleReplyMagic) this.#inbox.expect(this.#simple, () => this.#takeSimple());
      else throw broken('a reply begins with something else');
    });
  }

  #takeSimple(): void {
    const { error, cookie } = parseSimpleReply(this.#simple);
    const request = this.#request(cookie);
    if (error === 0 && request.type === Command.read) throw broken('a read is answered by a simple reply');
    if (error !== 0) request.error ??= refused(request, error, '');
    this.#finish(cookie, request);
    this.#nextReply();
  }

  #takeChunk(chunk: ChunkHeader): void {
    const request = this.#request(chunk.cookie);
    const end = (): void => {
      if (chunk.done) this.#finish(chunk.cookie, request);
      this.#nextReply();
    };
    if (chunk.type === Chunk.offsetData) {
      if (chunk.length < 8) throw broken(`data of ${chunk.length} bytes`);
      const head = Buffer.alloc(8);
      this.#inbox.expect(head, () => {
        const part = this.#part(request, parseOffset(head), chunk.length - 8);
        if (part.byteLength === 0) end();
        else this.#inbox.expect(part, end);
      });
      return;
    }
    if (chunk.length > longestPayload) throw broken(`a payload of ${chunk.length} bytes`);
    if (chunk.length === 0) {
      if (chunk.type !== Chunk.none) throw broken(`a chunk of type ${chunk.type} without payload`);
      end();
      return;
    }
    const payload = Buffer.alloc(chunk.length);
    this.#inbox.expect(payload, () => {
      this.#takePayload(request, chunk.type, payload);
      end();
    });
  }

  #takePayload(request: UnderWay, type: number, payload: Buffer): void {
    if (chunkIsError(type)) {
      const { error, said } = parseErrorChunk(payload);
      request.error ??= refused(request, error, said);
    } else if (type === Chunk.offsetHole && payload.length === 12) {
      this.#part(request, parseOffset(payload), payload.readUInt32BE(8)).fill(0);
    } else if (type === Chunk.blockStatus && request.type === Command.blockStatus) {
      const { context, runs } = parseBlockStatus(payload);
      request.runs.set(context, runs);
    } else {
      throw broken(`a chunk of type ${type} with ${payload.length} bytes`);
    }
  }

  /** The part of a read's target that a chunk is for. */
  #part(request: UnderWay, offset: number, length: number): Uint8Array {
    const at = offset - request.offset;
    if (!request.target || at < 0 || at + length > request.length) throw broken('data that nobody asked for');
    request.filled += length;
    if (request.filled > request.length) throw broken('more data than was asked for');
    return request.target.subarray(at, at + length);
  }

  #request(cookie: number): UnderWay {
    const request = this.#underWay.get(cookie);
    if (!request) throw broken(`a reply to request ${cookie}, which is not under way`);
    return request;
  }

  #finish(cookie: number, request: UnderWay): void {
    this.#underWay.delete(cookie);
    if (this.#underWay.size === 0) {
      clearTimeout(this.#watch);
      this.#watch = undefined;
    }
    if (request.error) request.reject(request.error);
    else if (request.target && request.filled < request.length)
      this.#fail(broken('less data than was asked for'), request);
    else request.resolve(request.runs);
  }

  #fail(error: StillError, ...more: UnderWay[]): void {
    for (const request of more) request.reject(error);
    if (this.#failure) return;
    this.#failure = error;
    clearTimeout(this.#watch);
    for (const request of this.#underWay.values()) request.reject(error);
    this.#underWay.clear();
    this.#socket.destroySoon();
  }
}

const names: Readonly<Record<number, string>> = {
  [Command.read]: 'read',
  [Command.trim]: 'trim',
  [Command.blockStatus]: 'block status',
};

function refused(request: UnderWay, error: number, said: string): StillError {
  const what = `${names[request.type] ?? 'request'} of ${request.length} bytes at ${request.offset}`;
  return new StillError(
    'EIO',
    `the NBD server refused a ${what}: error ${error}${said === '' ? '' : `, ${said}`}`,
  );
}
