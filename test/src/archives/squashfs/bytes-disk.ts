import type { Disk } from '../../../../src/disks/disk.js';
import { mustLieWithin } from '../../../../src/disks/disk-range.js';

/** An image in memory, with every read counted and held back where a test says so. */
export class BytesDisk implements Disk {
  readonly size: number;
  /** The offsets that were read from. */
  readonly reads: number[] = [];
  closed = false;
  /** Awaited before each read. */
  before: ((offset: number, signal?: AbortSignal) => Promise<void>) | undefined;

  constructor(readonly bytes: Buffer) {
    this.size = bytes.length;
  }

  async read(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    mustLieWithin(this, 'the image', offset, target.length);
    this.reads.push(offset);
    await this.before?.(offset, signal);
    target.set(this.bytes.subarray(offset, offset + target.length));
  }

  async extents(offset: number, length: number): Promise<never[]> {
    throw new Error(`nobody needs the extents at ${offset}, ${length}`);
  }

  async close(): Promise<void> {
    this.closed = true;
  }
}
