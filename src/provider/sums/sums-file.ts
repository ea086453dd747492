import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { StillError } from '../../errors.js';
import { blockCount, digestBytes, headerBytes, summedBytes, sumsFileBytes } from './sums-format.js';

/** So much of a file of checksums is read at a time, in bytes. */
export const pieceBytes = 64 * 1024;

/** A `.sums` file, opened and found whole. */
export class SumsFile {
  private constructor(
    readonly path: string,
    /** Bytes of what is summed. */
    readonly sizeBytes: number,
    private readonly file: FileHandle,
  ) {}

  /** ENOENT: there is none. EINVAL: no regular file; EIO: damaged; EOPNOTSUPP: of a kind that is not known. */
  static async open(path: string, signal?: AbortSignal): Promise<SumsFile> {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const stats = await file.stat();
      if (!stats.isFile()) throw new StillError('EINVAL', `${path} is not a regular file`);
      const header = Buffer.alloc(headerBytes);
      const { bytesRead } = await file.read(header, 0, headerBytes, 0);
      const sizeBytes = summedBytes(header.subarray(0, bytesRead), path);
      if (stats.size !== sumsFileBytes(sizeBytes))
        throw new StillError(
          'EIO',
          `${path} is damaged: ${stats.size} bytes, ${sumsFileBytes(sizeBytes)} are expected`,
        );
      await mustBeSealed(file, path, stats.size, signal);
      return new SumsFile(path, sizeBytes, file);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get blocks(): number {
    return blockCount(this.sizeBytes);
  }

  /** The digests of blocks from `first` on, at most `count`, one after another; fewer where they end. */
  async digests(first: number, count: number): Promise<Buffer> {
    const length = Math.max(0, Math.min(count, this.blocks - first)) * digestBytes;
    const digests = Buffer.allocUnsafe(length);
    const { bytesRead } = await this.file.read(digests, 0, length, headerBytes + first * digestBytes);
    if (bytesRead !== length) throw new StillError('EIO', `${this.path} was cut short while it was read`);
    return digests;
  }

  async close(): Promise<void> {
    await this.file.close();
  }
}

/** The seal of a file of checksums: SHA-256 of its first bytes. */
export async function sealOf(file: FileHandle, bytes: number, signal?: AbortSignal): Promise<Buffer> {
  const hash = createHash('sha256');
  const piece = Buffer.allocUnsafe(pieceBytes);
  for (let at = 0; at < bytes; ) {
    signal?.throwIfAborted();
    const { bytesRead } = await file.read(piece, 0, Math.min(pieceBytes, bytes - at), at);
    if (bytesRead === 0) throw new StillError('EIO', 'a file of checksums was cut short while it was read');
    hash.update(piece.subarray(0, bytesRead));
    at += bytesRead;
  }
  return hash.digest();
}

async function mustBeSealed(
  file: FileHandle,
  path: string,
  fileBytes: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const sealed = fileBytes - digestBytes;
  const seal = Buffer.alloc(digestBytes);
  await file.read(seal, 0, digestBytes, sealed);
  if (!seal.equals(await sealOf(file, sealed, signal)))
    throw new StillError('EIO', `${path} is damaged: its own checksum is not that of what it holds`);
}
