import type { ArchiveBytes } from './archive-bytes.js';

const windowBytes = 256 << 10;
const windows = 8;
/** Reads beyond this are given to the archive as they are. */
const small = 64 << 10;

interface Kept {
  readonly from: number;
  readonly bytes: Buffer;
}

/**
 * Reads for files that lie side by side: where small reads follow each other through an archive, they are answered out
 * of a few larger ones. Reads far from the last ones cost what they ask for.
 */
export class NearReads {
  readonly #archive: ArchiveBytes;
  readonly #kept: Kept[] = [];
  readonly #ends: number[] = [];

  constructor(archive: ArchiveBytes) {
    this.#archive = archive;
  }

  async read(offset: number, target: Uint8Array, signal: AbortSignal): Promise<void> {
    if (target.length > small) return this.#archive.read(offset, target, signal);
    const end = offset + target.length;
    const kept = this.#kept.find(({ from, bytes }) => from <= offset && end <= from + bytes.length);
    if (kept) {
      target.set(kept.bytes.subarray(offset - kept.from, end - kept.from));
      return;
    }
    if (!this.#follows(offset, end)) return this.#archive.read(offset, target, signal);
    const bytes = Buffer.allocUnsafeSlow(Math.min(windowBytes, this.#archive.size - offset));
    // Where the rest of the window is damaged, what was asked for may still be good.
    if (bytes.length < target.length) return this.#archive.read(offset, target, signal);
    try {
      await this.#archive.read(offset, bytes, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      return this.#archive.read(offset, target, signal);
    }
    target.set(bytes.subarray(0, target.length));
    this.#kept.push({ from: offset, bytes });
    if (this.#kept.length > windows) this.#kept.shift();
  }

  /** Whether a read is a little after the end of one of the last ones. */
  #follows(offset: number, end: number): boolean {
    const near = this.#ends.findIndex((last) => offset >= last && offset - last <= windowBytes);
    if (near >= 0) this.#ends[near] = end;
    else {
      this.#ends.push(end);
      if (this.#ends.length > windows) this.#ends.shift();
    }
    return near >= 0;
  }
}
