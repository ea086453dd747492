import type { Disk } from '../../../disks/disk.js';
import { StillError } from '../../../errors.js';
import type { Extent } from '../../../extents.js';
import { CachedReads } from '../../cached-reads.js';
import type { Replayed } from '../metadata-blocks.js';

const pageBytes = 4096;
/** What the log may change, bytes. */
const mostBytes = 128 * 1024 * 1024;

/** A disk with changes over it, in memory: the disk itself is never written to. Closing it closes the disk. */
export class ReplayedDisk implements Disk, Replayed {
  readonly size: number;
  readonly exchanged = new Set<number>();
  readonly #disk: Disk;
  readonly #reads: CachedReads;
  readonly #pages = new Map<number, Buffer>();

  constructor(disk: Disk, name: string) {
    this.size = disk.size;
    this.#disk = disk;
    this.#reads = new CachedReads(disk, name, {
      pageBytes: 4 * pageBytes,
      mostBytes: 8 * 1024 * 1024,
      mostPagesAhead: 8,
    });
  }

  async read(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    await this.#disk.read(offset, target, signal);
    if (this.#pages.size > 0) this.#patch(offset, target);
  }

  extents(offset: number, length: number, signal?: AbortSignal): Promise<Extent[]> {
    return this.#disk.extents(offset, length, signal);
  }

  close(): Promise<void> {
    this.forget();
    return this.#disk.close();
  }

  holds(offset: number, length: number): boolean {
    for (let page = Math.floor(offset / pageBytes); page * pageBytes < offset + length; page++)
      if (this.#pages.has(page)) return true;
    return false;
  }

  /** A range as it is now, without a wait; undefined where it is not all in memory. It must not be written to. */
  peek(offset: number, length: number): Buffer | undefined {
    const number = Math.floor(offset / pageBytes);
    const from = offset - number * pageBytes;
    if (from + length > pageBytes) return undefined;
    return this.#pages.get(number)?.subarray(from, from + length) ?? this.#reads.now(offset, length);
  }

  /** A range as it is now. It must not be written to. */
  async now(offset: number, length: number, signal: AbortSignal): Promise<Buffer> {
    const known = this.peek(offset, length);
    if (known) return known;
    const bytes = Buffer.from(await this.#reads.bytes(offset, length, signal));
    this.#patch(offset, bytes);
    return bytes;
  }

  async write(offset: number, bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    const end = offset + bytes.length;
    for (let at = offset; at < end; ) {
      const number = Math.floor(at / pageBytes);
      const start = number * pageBytes;
      const until = Math.min(start + pageBytes, end);
      const page = this.#pages.get(number) ?? (await this.#page(number, signal));
      page.set(bytes.subarray(at - offset, until - offset), at - start);
      at = until;
    }
  }

  /** Lets go of what was read on the way. */
  settle(): void {
    this.#reads.clear();
  }

  /** Is the disk again without any change. */
  forget(): void {
    this.#pages.clear();
    this.exchanged.clear();
    this.#reads.clear();
  }

  async #page(number: number, signal: AbortSignal): Promise<Buffer> {
    if ((this.#pages.size + 1) * pageBytes > mostBytes)
      throw new StillError('EIO', `the log of the XFS file system changes more than ${mostBytes} bytes`);
    const start = number * pageBytes;
    const length = Math.min(pageBytes, this.size - start);
    const page = Buffer.from(await this.#reads.bytes(start, length, signal));
    this.#pages.set(number, page);
    return page;
  }

  #patch(offset: number, target: Uint8Array): void {
    const end = offset + target.length;
    for (let number = Math.floor(offset / pageBytes); number * pageBytes < end; number++) {
      const page = this.#pages.get(number);
      if (!page) continue;
      const start = number * pageBytes;
      const from = Math.max(offset, start);
      target.set(page.subarray(from - start, Math.min(end - start, page.length)), from - offset);
    }
  }
}
