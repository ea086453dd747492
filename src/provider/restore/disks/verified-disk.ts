import type { Disk } from '../../../disks/disk.js';
import { messageOf } from '../../../errors.js';
import type { SumsFile } from '../../sums/sums-file.js';
import { blockBytes, digestBytes, digestOf, digestOfZeros, lengthOfBlock } from '../../sums/sums-format.js';
import type { Damage } from '../damage.js';

/** Of a block that can't be read as a whole, so much is tried at a time, in bytes. */
const tryBytes = 65_536;
/** So many checksums are compared at a time. */
const digestsAtOnce = 4096;

/** A stored disk whose bytes are compared with their checksums as they are read. */
export class VerifiedDisk {
  constructor(
    /** What it is called in sentences. */
    private readonly name: string,
    private readonly disk: Disk,
    /** Undefined: there are none. */
    private readonly sums: SumsFile | undefined,
    private readonly damage: Damage,
  ) {}

  get sizeBytes(): number {
    return this.disk.size;
  }

  /** Reads a block. EIO: it is damaged; where that is ignored, what can't be read is zeros. */
  async block(index: number, signal: AbortSignal): Promise<Buffer<ArrayBuffer>> {
    const offset = index * blockBytes;
    const length = lengthOfBlock(index, this.sizeBytes);
    // Not one for all blocks: after a failed read the system may still write into it.
    const bytes = Buffer.allocUnsafeSlow(length);
    try {
      await this.disk.read(offset, bytes, signal);
    } catch (error) {
      signal.throwIfAborted();
      this.damage.found(`${this.#range(offset, length)} can't be read: ${messageOf(error)}`);
      return this.#whatCanBeRead(offset, length, signal);
    }
    const wanted = await this.sums?.digests(index, 1);
    if (wanted && !wanted.equals(await digestOf(bytes))) this.#isNotWhatWasStored(offset, length);
    return bytes;
  }

  /** Sees that blocks that are all zeros were so when they were stored. */
  async zeros(first: number, count: number, signal: AbortSignal): Promise<void> {
    if (!this.sums) return;
    for (let from = first; from < first + count; from += digestsAtOnce) {
      signal.throwIfAborted();
      const blocks = Math.min(digestsAtOnce, first + count - from);
      const wanted = await this.sums.digests(from, blocks);
      for (let index = 0; index < blocks; index++) {
        const length = lengthOfBlock(from + index, this.sizeBytes);
        const digest = wanted.subarray(index * digestBytes, (index + 1) * digestBytes);
        if (!digest.equals(await digestOfZeros(length)))
          this.#isNotWhatWasStored((from + index) * blockBytes, length);
      }
    }
  }

  /** The next data at or after an offset. What can't be told counts as data: to read it tells why. */
  nextData(offset: number, signal: AbortSignal): Promise<number> {
    return this.#next(offset, false, signal);
  }

  nextHole(offset: number, signal: AbortSignal): Promise<number> {
    return this.#next(offset, true, signal);
  }

  async #next(offset: number, zero: boolean, signal: AbortSignal): Promise<number> {
    for (let at = offset; at < this.sizeBytes; ) {
      let found: Awaited<ReturnType<Disk['extents']>>;
      try {
        found = await this.disk.extents(at, this.sizeBytes - at, signal);
      } catch {
        signal.throwIfAborted();
        return zero ? Math.min(at + blockBytes, this.sizeBytes) : at;
      }
      for (const extent of found) {
        if (extent.zero === zero) return extent.offset;
        at = extent.offset + extent.length;
      }
    }
    return this.sizeBytes;
  }

  async #whatCanBeRead(offset: number, length: number, signal: AbortSignal): Promise<Buffer<ArrayBuffer>> {
    const bytes = Buffer.alloc(length);
    for (let at = 0; at < length; at += tryBytes) {
      const piece = Buffer.allocUnsafeSlow(Math.min(tryBytes, length - at));
      try {
        await this.disk.read(offset + at, piece, signal);
        bytes.set(piece, at);
      } catch {
        // Told already, of the whole block. It stays zeros.
        signal.throwIfAborted();
      }
    }
    return bytes;
  }

  #isNotWhatWasStored(offset: number, length: number): void {
    this.damage.found(`${this.#range(offset, length)} is not what was backed up: its checksum differs`);
  }

  #range(offset: number, length: number): string {
    return `${this.name}, ${offset} to ${offset + length - 1},`;
  }
}
