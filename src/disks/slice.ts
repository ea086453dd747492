import { StillError } from '../errors.js';
import type { Extent } from '../extents.js';
import type { Disk } from './disk.js';
import { mustLieWithin } from './disk-range.js';

/** A part of a disk, as a disk of its own: a partition. Closing it does not close the disk. */
export class Slice implements Disk {
  readonly size: number;
  readonly #disk: Disk;
  readonly #offset: number;
  readonly #name: string;
  #closed = false;

  /** `offset` and `size`: bytes of `disk`; EINVAL where they leave it. `name`: what stands for the slice in errors. */
  constructor(disk: Disk, offset: number, size: number, name: string) {
    mustLieWithin(disk, name, offset, size);
    this.size = size;
    this.#disk = disk;
    this.#offset = offset;
    this.#name = name;
  }

  async read(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    this.#check(offset, target.length);
    await this.#disk.read(this.#offset + offset, target, signal);
  }

  async extents(offset: number, length: number, signal?: AbortSignal): Promise<Extent[]> {
    this.#check(offset, length);
    const found = await this.#disk.extents(this.#offset + offset, length, signal);
    return found.map((extent) => ({ ...extent, offset: extent.offset - this.#offset }));
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  #check(offset: number, length: number): void {
    if (this.#closed) throw new StillError('EBADF', `${this.#name} is closed`);
    mustLieWithin(this, this.#name, offset, length);
  }
}
