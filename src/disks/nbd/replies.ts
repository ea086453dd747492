import type { Inbox } from './inbox.js';
import {
  broken,
  Chunk,
  type ChunkHeader,
  Command,
  chunkIsError,
  extendedReplyMagic,
  extendedReplyRest,
  parseBlockStatus,
  parseChunk,
  parseErrorChunk,
  parseExtendedBlockStatus,
  parseExtendedChunk,
  parseOffset,
  parseSimpleReply,
  simpleReplyMagic,
  simpleReplyRest,
  structuredReplyMagic,
  structuredReplyRest,
} from './protocol.js';
import type { Request } from './request.js';

/** The longest payload that is not data: the status of 2^20 runs, beyond which no server should go. */
const longestPayload = 8 + 16 * 2 ** 20;

/** What replies are for: whoever keeps the requests that are under way. */
export interface Asker {
  /** The request with a cookie; EIO where there is none. */
  request(cookie: number): Request;
  /** A reply is whole. */
  answered(cookie: number): void;
}

/** Reads replies, one after the other, for as long as bytes come. What breaks the protocol is thrown into `inbox.take`. */
export class Replies {
  readonly #inbox: Inbox;
  readonly #asker: Asker;
  readonly #contexts: ReadonlySet<number>;
  readonly #extended: boolean;
  readonly #magic = Buffer.alloc(4);
  readonly #simple = Buffer.alloc(simpleReplyRest);
  readonly #header: Buffer;
  readonly #dataOffset = Buffer.alloc(8);

  /** `contexts`: the numbers of those that were agreed on. */
  constructor(inbox: Inbox, asker: Asker, contexts: ReadonlySet<number>, extended: boolean) {
    this.#inbox = inbox;
    this.#asker = asker;
    this.#contexts = contexts;
    this.#extended = extended;
    this.#header = Buffer.alloc(extended ? extendedReplyRest : structuredReplyRest);
  }

  start(): void {
    if (this.#inbox.waiting > 0) throw broken('it says something before it is asked');
    this.#next();
  }

  #next(): void {
    this.#inbox.expect(this.#magic, () => {
      const magic = this.#magic.readUInt32BE(0);
      if (magic === (this.#extended ? extendedReplyMagic : structuredReplyMagic)) {
        this.#inbox.expect(this.#header, () =>
          this.#chunk(this.#extended ? parseExtendedChunk(this.#header) : parseChunk(this.#header)),
        );
      } else if (magic === simpleReplyMagic && !this.#extended) {
        this.#inbox.expect(this.#simple, () => this.#simpleReply());
      } else {
        throw broken(`a reply begins with 0x${magic.toString(16)}`);
      }
    });
  }

  #simpleReply(): void {
    const { error, cookie } = parseSimpleReply(this.#simple);
    const request = this.#asker.request(cookie);
    if (request.type === Command.read) throw broken('a read is answered by a simple reply');
    if (request.type === Command.blockStatus && error === 0)
      throw broken('block status is answered by a simple reply');
    if (error !== 0) request.refuse(error, '');
    this.#asker.answered(cookie);
    this.#next();
  }

  #chunk(chunk: ChunkHeader): void {
    const request = this.#asker.request(chunk.cookie);
    if (chunk.offset !== undefined && chunk.offset !== request.offset)
      throw broken('a reply tells another offset than its request');
    if (chunk.type === Chunk.offsetData) this.#data(chunk, request);
    else if (chunk.type === Chunk.none) {
      if (chunk.length !== 0 || !chunk.done)
        throw broken('an empty chunk that is not the last, or not empty');
      this.#end(chunk);
    } else if (chunk.length > longestPayload || chunk.length === 0) {
      throw broken(`a chunk of type ${chunk.type} with ${chunk.length} bytes`);
    } else {
      const payload = Buffer.alloc(chunk.length);
      this.#inbox.expect(payload, () => {
        this.#payload(request, chunk.type, payload);
        this.#end(chunk);
      });
    }
  }

  #data(chunk: ChunkHeader, request: Request): void {
    if (chunk.length < 9) throw broken(`data of ${chunk.length} bytes with their offset`);
    this.#inbox.expect(this.#dataOffset, () => {
      const part = request.part(parseOffset(this.#dataOffset), chunk.length - 8);
      this.#inbox.expect(part, () => this.#end(chunk));
    });
  }

  #payload(request: Request, type: number, payload: Buffer): void {
    const statusType = this.#extended ? Chunk.blockStatusExtended : Chunk.blockStatus;
    if (chunkIsError(type)) {
      const { error, said, offset } = parseErrorChunk(type, payload);
      request.refuse(error, said, offset);
    } else if (type === Chunk.offsetHole && payload.length === 12) {
      request.part(parseOffset(payload), payload.readUInt32BE(8)).fill(0);
    } else if (type === statusType) {
      const { context, runs } = this.#extended
        ? parseExtendedBlockStatus(payload)
        : parseBlockStatus(payload);
      if (!this.#contexts.has(context)) throw broken('block status of a context that was not agreed on');
      request.takeRuns(context, runs);
    } else {
      throw broken(`a chunk of type ${type} with ${payload.length} bytes`);
    }
  }

  #end(chunk: ChunkHeader): void {
    if (chunk.done) this.#asker.answered(chunk.cookie);
    this.#next();
  }
}
