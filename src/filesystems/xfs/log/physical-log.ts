import { StillError } from '../../../errors.js';
import type { CachedReads } from '../../cached-reads.js';
import { basicBlock } from '../addresses.js';
import { recordMagic } from './record-header.js';

/** The log as it lies on the disk: a ring of blocks of 512 bytes. */
export class PhysicalLog {
  /** How many blocks of 512 bytes it has. */
  readonly blocks: number;
  /** Whether records may be larger than 32 KiB. */
  readonly version: 1 | 2;
  readonly #reads: CachedReads;
  readonly #offset: number;

  constructor(reads: CachedReads, offset: number, length: number, version: 1 | 2) {
    this.#reads = reads;
    this.#offset = offset;
    this.blocks = Math.floor(length / basicBlock);
    this.version = version;
    if (this.blocks < 2) throw new StillError('EIO', `the log of the XFS file system has ${length} bytes`);
  }

  /** So many blocks, from one on, around the end of the ring. The bytes must not be written to. */
  async read(block: number, count: number, signal: AbortSignal): Promise<Buffer> {
    const here = Math.min(count, this.blocks - block);
    const first = await this.#bytes(block, here, signal);
    return here === count ? first : Buffer.concat([first, await this.#bytes(0, count - here, signal)]);
  }

  /** In which turn around the ring a block was written; 0: never. */
  async cycle(block: number, signal: AbortSignal): Promise<number> {
    const known = this.#reads.now(this.#offset + block * basicBlock, 8);
    const bytes = known ?? (await this.#bytes(block, 1, signal));
    const first = bytes.readUInt32BE(0);
    return first === recordMagic ? bytes.readUInt32BE(4) : first;
  }

  async isRecord(block: number, signal: AbortSignal): Promise<boolean> {
    const known = this.#reads.now(this.#offset + block * basicBlock, 8);
    return (known ?? (await this.#bytes(block, 1, signal))).readUInt32BE(0) === recordMagic;
  }

  after(block: number, count: number): number {
    return (block + count) % this.blocks;
  }

  /** How many blocks lie from one to another one. */
  distance(from: number, to: number): number {
    return (to - from + this.blocks) % this.blocks;
  }

  #bytes(block: number, count: number, signal: AbortSignal): Promise<Buffer> {
    return this.#reads.bytes(this.#offset + block * basicBlock, count * basicBlock, signal);
  }
}
