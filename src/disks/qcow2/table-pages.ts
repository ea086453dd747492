import { StillError } from '../../errors.js';
import type { ImageFile } from '../image-file.js';
import { SharedCache } from './shared-cache.js';

/**
 * Tables are read and kept in pages of this many bytes of their file: an L2 table can have 2 MiB, and one read of
 * 4 KiB needs eight bytes of it. No entry crosses a page, for tables begin at clusters of at least 512 bytes.
 */
const pageBytes = 16384;

/** All tables of all open images together. */
const pages = new SharedCache<Buffer>(32 << 20);

/** The tables of one image, a page at a time. */
export class TablePages {
  readonly #pages = pages.section();
  readonly #file: ImageFile;

  constructor(file: ImageFile) {
    this.#file = file;
  }

  /** The page that holds an offset of the file, if it is to be had without a wait. */
  now(offset: number): TablePage | undefined {
    const index = Math.floor(offset / pageBytes);
    const kept = this.#pages.get(index);
    if (kept) return new TablePage(kept, index * pageBytes);
    const bytes = this.#room(index);
    if (this.#file.readNow(index * pageBytes, bytes) < bytes.length) return undefined;
    this.#pages.set(index, bytes);
    return new TablePage(bytes, index * pageBytes);
  }

  /** The same, however long it takes. EIO: it can't be read. */
  async load(offset: number, signal?: AbortSignal): Promise<TablePage> {
    const ready = this.now(offset);
    if (ready) return ready;
    const index = Math.floor(offset / pageBytes);
    const bytes = this.#room(index);
    const count = await this.#file.read(index * pageBytes, bytes, signal);
    if (count < bytes.length)
      throw new StillError(
        'EIO',
        `${this.#file.path} was cut short while open: its table at ${offset} is gone`,
      );
    this.#pages.set(index, bytes);
    return new TablePage(bytes, index * pageBytes);
  }

  clear(): void {
    this.#pages.clear();
  }

  #room(index: number): Buffer {
    // Not from Node's pool: an entry of the cache must not hold eight others' memory.
    return Buffer.allocUnsafeSlow(Math.min(pageBytes, this.#file.size - index * pageBytes));
  }
}

/** Part of a table: big-endian numbers by their offset in the file. */
export class TablePage {
  /** The first offset of the file that is not of this page. */
  readonly end: number;

  constructor(
    private readonly bytes: Buffer,
    private readonly start: number,
  ) {
    this.end = start + bytes.length;
  }

  uint32(offset: number): number {
    return this.bytes.readUInt32BE(offset - this.start);
  }
}
