import { StillError } from '../../errors.js';
import { rest, timed } from '../../pace.js';
import type { FileContent, FilePiece } from '../file-system.js';
import type { UnpackedUnits } from './compressed-content.js';
import { size64 } from './integers.js';
import { unpackXpress } from './xpress-huffman.js';

/** The stream that holds the chunks. */
export const chunksStream = 'WofCompressedData';
/** From this size on places are told in 64 bits. */
const large = 2 ** 32;

/** A stream, as far as chunks are read from it. */
interface Chunks {
  readonly size: number;
  readonly content: FileContent;
}

/**
 * The bytes of a file that Windows has compressed by itself (CompactOS, `compact /exe`): a table of where each chunk but the first
 * begins, then the chunks. One that is as long as its bytes is stored as it is.
 */
export class SystemCompressedContent implements FileContent {
  readonly #placeBytes: number;
  readonly #count: number;

  /** `size`: of the file. `name`: what stands for the file, in the cache and in errors. */
  constructor(
    private readonly chunks: Chunks,
    private readonly size: number,
    private readonly chunkBytes: number,
    private readonly units: UnpackedUnits,
    private readonly name: string,
  ) {
    this.#placeBytes = size < large ? 4 : 8;
    this.#count = Math.ceil(size / chunkBytes);
  }

  async read(offset: number, target: Uint8Array, signal: AbortSignal): Promise<void> {
    const end = offset + target.length;
    for (let at = offset; at < end; ) {
      const chunk = Math.floor(at / this.chunkBytes);
      const from = at - chunk * this.chunkBytes;
      const to = Math.min((chunk + 1) * this.chunkBytes, end);
      const key = `${this.name} ${chunk}`;
      const bytes = this.units.get(key) ?? (await this.#unpack(chunk, key, signal));
      target.set(bytes.subarray(from, from + to - at), at - offset);
      at = to;
    }
  }

  async pieces(offset: number, length: number): Promise<readonly FilePiece[]> {
    return [{ offset, length, hole: false }];
  }

  async #unpack(chunk: number, key: string, signal: AbortSignal): Promise<Buffer> {
    const length = Math.min(this.chunkBytes, this.size - chunk * this.chunkBytes);
    const table = (this.#count - 1) * this.#placeBytes;
    const from = table + (chunk === 0 ? 0 : await this.#place(chunk, signal));
    const to = chunk + 1 === this.#count ? this.chunks.size : table + (await this.#place(chunk + 1, signal));
    if (!(from >= table && to > from && to <= this.chunks.size && to - from <= length))
      throw new StillError('EIO', `chunk ${chunk} of ${this.name} is damaged: it lies from ${from} to ${to}`);
    const packed = Buffer.allocUnsafeSlow(to - from);
    await this.chunks.content.read(from, packed, signal);
    const bytes = packed.length === length ? packed : Buffer.allocUnsafeSlow(length);
    if (bytes !== packed) {
      timed(() => unpackXpress(packed, bytes));
      await rest();
    }
    this.units.set(key, bytes);
    return bytes;
  }

  /** Where a chunk begins, behind the table. */
  async #place(chunk: number, signal: AbortSignal): Promise<number> {
    const entry = Buffer.alloc(this.#placeBytes);
    const at = (chunk - 1) * this.#placeBytes;
    if (at + entry.length > this.chunks.size)
      throw new StillError('EIO', `${this.name} is damaged: its table of ${this.#count} chunks is cut short`);
    await this.chunks.content.read(at, entry, signal);
    return this.#placeBytes === 4 ? entry.readUInt32LE(0) : size64(entry, 0);
  }
}
