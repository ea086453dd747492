import { type FileHandle, open } from 'node:fs/promises';
import { StillError } from '../../errors.js';
import { pieceBytes, type SumsFile, sealOf } from './sums-file.js';
import { blockCount, digestBytes, headerBytes, sumsFileBytes, sumsHeader } from './sums-format.js';

/** Writes a `.sums` file, its blocks in any order. Until `finish` it has no seal, so nobody takes it for whole. */
export class SumsWriter {
  private constructor(
    readonly path: string,
    private readonly sizeBytes: number,
    private readonly file: FileHandle,
  ) {}

  /** Begins a file, which must not be there yet, for so many bytes. The caller ends by `finish` or `close`. */
  static async create(path: string, sizeBytes: number): Promise<SumsWriter> {
    const file = await open(path, 'wx+', 0o600);
    const writer = new SumsWriter(path, sizeBytes, file);
    try {
      await writer.#write(sumsHeader(sizeBytes), 0);
      return writer;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Takes over the digests of a parent, as far as both have blocks. */
  async takeOver(parent: SumsFile, signal?: AbortSignal): Promise<void> {
    const most = Math.min(parent.blocks, blockCount(this.sizeBytes));
    const step = pieceBytes / digestBytes;
    for (let block = 0; block < most; block += step) {
      signal?.throwIfAborted();
      await this.set(block, await parent.digests(block, Math.min(step, most - block)));
    }
  }

  /** Sets the digests of blocks from `first` on, one after another. */
  async set(first: number, digests: Uint8Array): Promise<void> {
    await this.#write(digests, headerBytes + first * digestBytes);
  }

  /** Sets `count` blocks from `first` on to one digest. */
  async fill(first: number, count: number, digest: Uint8Array): Promise<void> {
    const step = pieceBytes / digestBytes;
    const same = Buffer.alloc(Math.min(count, step) * digestBytes);
    for (let at = 0; at < same.length; at += digestBytes) same.set(digest, at);
    for (let done = 0; done < count; done += step)
      await this.set(first + done, same.subarray(0, Math.min(step, count - done) * digestBytes));
  }

  /** Seals the file and brings it onto the disk; every block was set before. */
  async finish(signal?: AbortSignal): Promise<void> {
    try {
      const sealed = sumsFileBytes(this.sizeBytes) - digestBytes;
      await this.#write(await sealOf(this.file, sealed, signal), sealed);
      await this.file.sync();
    } finally {
      await this.file.close();
    }
  }

  /** Lets go of a file that will not be finished. */
  async close(): Promise<void> {
    await this.file.close();
  }

  async #write(bytes: Uint8Array, position: number): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await this.file.write(bytes, done, bytes.length - done, position + done);
      if (bytesWritten === 0) throw new StillError('EIO', `nothing more can be written to ${this.path}`);
      done += bytesWritten;
    }
  }
}
