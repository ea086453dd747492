import type { CachedReads } from './cached-reads.js';

/** Bytes that are looked at together: entries that follow one another lie in one piece. */
const windowBytes = 4096;

/** A table on a disk whose entries are asked for one after the other, mostly close to the last one. */
export class TableWindow {
  readonly #cache: CachedReads;
  readonly #table: { readonly offset: number; readonly size: number };
  #window: { readonly start: number; readonly bytes: Buffer } = { start: 0, bytes: Buffer.alloc(0) };

  /** `table`: where it lies on the disk, bytes. */
  constructor(cache: CachedReads, table: { readonly offset: number; readonly size: number }) {
    this.#cache = cache;
    this.#table = table;
  }

  /** Has an entry parsed that begins at a byte of the table: at once, where it is in memory. The entry lies within the table. */
  read<T>(
    at: number,
    length: number,
    parse: (bytes: Buffer, at: number) => T,
    signal: AbortSignal,
  ): T | Promise<T> {
    const { start, bytes } = this.#window;
    if (at >= start && at + length <= start + bytes.length) return parse(bytes, at - start);
    return this.#load(at, length, signal).then((window) => parse(window.bytes, at - window.start));
  }

  async #load(
    at: number,
    length: number,
    signal: AbortSignal,
  ): Promise<{ readonly start: number; readonly bytes: Buffer }> {
    const { offset, size } = this.#table;
    let start = at - (at % windowBytes);
    // An entry of twelve bits may begin in one window and end in the next.
    if (at + length > start + windowBytes) start = at;
    const bytes = await this.#cache.bytes(offset + start, Math.min(windowBytes, size - start), signal);
    this.#window = { start, bytes };
    return this.#window;
  }
}
