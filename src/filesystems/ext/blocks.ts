import type { Disk } from '../../disks/disk.js';
import { StillError } from '../../errors.js';
import type { CachedReads } from '../cached-reads.js';

/** The blocks of a file system, by their numbers on its disk. */
export class Blocks {
  /** How many are on the disk: fewer than the file system tells of where it was cut short. */
  readonly #onDisk: number;

  constructor(
    readonly disk: Disk,
    readonly cache: CachedReads,
    /** Of a block. */
    readonly bytes: number,
    /** As the superblock tells. */
    readonly count: number,
  ) {
    this.#onDisk = Math.floor(disk.size / bytes);
  }

  /** Whether blocks can be a file's: they are the file system's, and not the first one, where the superblock is. */
  hold(block: number, count: number): boolean {
    return block > 0 && block + count <= this.count;
  }

  /** How many of these are on the disk, from the first one on. */
  present(block: number, count: number): number {
    return Math.min(Math.max(this.#onDisk - block, 0), count);
  }

  /** A block of metadata, which must not be written to. EIO: it is not on the disk, or can't be read. */
  async read(block: number, signal: AbortSignal): Promise<Buffer> {
    const known = this.cache.now(block * this.bytes, this.bytes);
    if (known) return known;
    if (block < 0 || this.present(block, 1) === 0) throw this.missing(block);
    return this.cache.bytes(block * this.bytes, this.bytes, signal);
  }

  missing(block: number): StillError {
    return new StillError(
      'EIO',
      `block ${block} of the ext file system is beyond the end of its disk (${this.disk.size} bytes)`,
    );
  }
}
