import { hasCode, messageOf } from '../../errors.js';
import { blockBytes } from '../tar/header.js';
import { Turns, type Window, type Windows, windowBytes, windowOf } from '../tar/windows.js';
import { type Chunks, chunkBytes } from './chunks.js';

/** How far behind the end mark of an archive its compressed bytes are checked for being whole. */
const mostBehind = 1 << 20;

/** The windows of an archive that is being decompressed, which keeps what passes in chunks. */
export class DecompressedWindows implements Windows {
  readonly #pieces: AsyncIterator<Buffer, void, void>;
  readonly #chunks: Chunks;
  readonly #signal: AbortSignal;
  readonly #turns = new Turns();
  #chunk = windowBytes(chunkBytes);
  #spare = windowBytes(chunkBytes);
  #number = 0;
  #filled = 0;
  #rest: Buffer | undefined;
  #keeping: Promise<void> = Promise.resolve();
  #ended = false;
  #damage: string | undefined;

  constructor(pieces: AsyncIterator<Buffer, void, void>, chunks: Chunks, signal: AbortSignal) {
    this.#pieces = pieces;
    this.#chunks = chunks;
    this.#signal = signal;
  }

  /** Bytes that have come. */
  get size(): number {
    return this.#number * chunkBytes + this.#filled;
  }

  /** Why the archive could not be decompressed to its end. */
  get damage(): string | undefined {
    return this.#damage;
  }

  async at(offset: number): Promise<Window | undefined> {
    await this.#turns.give();
    while (this.size < offset + blockBytes) {
      if (!(await this.#pull())) return undefined;
    }
    const begin = offset - this.#number * chunkBytes;
    return windowOf(this.#chunk.subarray(begin, this.#filled), offset);
  }

  /** Goes on to the end, if it is near, for the checksum that stands there; keeps the last chunk; says how much came. */
  async finish(): Promise<number> {
    for (const enough = this.size + mostBehind; this.size < enough; ) {
      if (!(await this.#pull())) break;
    }
    await this.#pieces.return?.();
    await this.#keeping;
    if (this.#filled > 0) await this.#chunks.keep(this.#number, this.#chunk.subarray(0, this.#filled));
    return this.size;
  }

  async #pull(): Promise<boolean> {
    this.#signal.throwIfAborted();
    if (this.#ended) return false;
    this.#rest ??= await this.#next();
    if (!this.#rest) {
      this.#ended = true;
      return false;
    }
    if (this.#filled === chunkBytes) await this.#turnOver();
    const taken = this.#rest.copy(this.#chunk, this.#filled);
    this.#filled += taken;
    this.#rest = taken < this.#rest.length ? this.#rest.subarray(taken) : undefined;
    return true;
  }

  /** Keeps a full chunk while the next one is filled. */
  async #turnOver(): Promise<void> {
    await this.#keeping;
    this.#keeping = this.#chunks.keep(this.#number, this.#chunk);
    [this.#chunk, this.#spare] = [this.#spare, this.#chunk];
    this.#number++;
    this.#filled = 0;
  }

  async #next(): Promise<Buffer | undefined> {
    try {
      const { value } = await this.#pieces.next();
      return value ?? undefined;
    } catch (error) {
      this.#signal.throwIfAborted();
      if (!hasCode(error, 'EIO')) throw error;
      this.#damage = messageOf(error);
      return undefined;
    }
  }
}
