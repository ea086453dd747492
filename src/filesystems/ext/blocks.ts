import type { Disk } from '../../disks/disk.js';
import { StillError } from '../../errors.js';
import type { CachedReads } from '../cached-reads.js';

/** The blocks of a file system, by their numbers on its disk. */
export class Blocks {
  /** How many there are on the disk: fewer than the file system tells of where it was cut short. */
  readonly count: number;

  constructor(
    readonly disk: Disk,
    readonly cache: CachedReads,
    /** Of a block. */
    readonly bytes: number,
    told: number,
  ) {
    this.count = Math.min(told, Math.floor(disk.size / bytes));
  }

  /** Whether blocks can hold a file's data: they are there, and not the first one, where the superblock is. */
  hold(block: number, count: number): boolean {
    return block > 0 && block + count <= this.count;
  }

  /** A block of metadata, which must not be written to. EIO: there is none of that number, or it can't be read. */
  async read(block: number, signal: AbortSignal): Promise<Buffer> {
    const known = this.cache.now(block * this.bytes, this.bytes);
    if (known) return known;
    if (block < 0 || block >= this.count)
      throw new StillError('EIO', `block ${block} is beyond the ${this.count} of the ext file system's disk`);
    return this.cache.bytes(block * this.bytes, this.bytes, signal);
  }
}
