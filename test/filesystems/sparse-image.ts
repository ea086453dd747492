import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { Disk } from '../../src/disks/disk.js';
import { mustLieWithin } from '../../src/disks/disk-range.js';

const pageBytes = 4096;
const piece = 1024 * 1024;
const zeros = Buffer.alloc(pageBytes);

/** An image in memory without its zeros: large, but mostly empty. */
export class SparseImage {
  readonly size: number;
  readonly #pages = new Map<number, Buffer>();

  /** Reads the whole of a file. */
  constructor(path: string) {
    const descriptor = openSync(path, 'r');
    try {
      this.size = fstatSync(descriptor).size;
      const room = Buffer.alloc(piece);
      for (let at = 0; at < this.size; at += piece) {
        const length = readSync(descriptor, room, 0, piece, at);
        for (let from = 0; from < length; from += pageBytes) {
          const page = room.subarray(from, Math.min(from + pageBytes, length));
          if (!zeros.subarray(0, page.length).equals(page))
            this.#pages.set((at + from) / pageBytes, Buffer.from(page));
        }
      }
    } finally {
      closeSync(descriptor);
    }
  }

  /** Where pages of 4 KiB are that hold something, ascending, in bytes. */
  get places(): number[] {
    return [...this.#pages.keys()].map((number) => number * pageBytes);
  }

  /** A page, which must not be written to. */
  page(number: number): Buffer | undefined {
    return this.#pages.get(number);
  }
}

/** A disk of such an image, with changes of its own; `size` may cut it short. */
export class ChangedImage implements Disk {
  readonly #pages = new Map<number, Buffer>();
  closed = false;

  constructor(
    readonly image: SparseImage,
    readonly size = image.size,
  ) {}

  async read(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    mustLieWithin(this, 'the image', offset, target.length);
    target.set(this.bytes(offset, target.length));
  }

  /** A copy of a range. */
  bytes(offset: number, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    for (let at = offset; at < offset + length; ) {
      const number = Math.floor(at / pageBytes);
      const from = at - number * pageBytes;
      const count = Math.min(pageBytes - from, offset + length - at);
      const page = this.#pages.get(number) ?? this.image.page(number);
      page?.copy(bytes, at - offset, from, from + count);
      at += count;
    }
    return bytes;
  }

  change(offset: number, bytes: Uint8Array): void {
    for (let at = offset; at < offset + bytes.length; ) {
      const number = Math.floor(at / pageBytes);
      const from = at - number * pageBytes;
      const count = Math.min(pageBytes - from, offset + bytes.length - at);
      const page =
        this.#pages.get(number) ?? Buffer.concat([this.image.page(number) ?? Buffer.alloc(pageBytes)]);
      page.set(bytes.subarray(at - offset, at - offset + count), from);
      this.#pages.set(number, page);
      at += count;
    }
  }

  async extents(offset: number, length: number): Promise<never[]> {
    throw new Error(`nobody needs the extents at ${offset}, ${length}`);
  }

  async close(): Promise<void> {
    this.closed = true;
  }
}
