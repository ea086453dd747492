import { StillError } from '../../errors.js';
import { sha256 } from './sha256.js';

/**
 * A `.sums` file holds a SHA-256 of each MiB of a disk, or of a file, so that what changed is found without its old bytes, and
 * what was damaged is found at all. All numbers are little-endian:
 *
 *      0  16  magic: "stillfs sums\n", then zeros
 *     16   4  version: 1
 *     20   4  algorithm: 1 is SHA-256
 *     24   8  bytes of a block: 1 MiB
 *     32   8  bytes of what is summed
 *     40  24  zeros
 *     64      a digest of 32 bytes for each block, the last of which may be a short one
 *             the seal: SHA-256 of all that stands before it
 */
const magic = Buffer.from('stillfs sums\n\0\0\0', 'latin1');
const version = 1;
const sha256Algorithm = 1;

/** How much one digest stands for, in bytes. */
export const blockBytes = 2 ** 20;
export const digestBytes = 32;
export const headerBytes = 64;

export function blockCount(sizeBytes: number): number {
  return Math.ceil(sizeBytes / blockBytes);
}

/** The length in bytes of the `.sums` file of so many bytes. */
export function sumsFileBytes(sizeBytes: number): number {
  return headerBytes + (blockCount(sizeBytes) + 1) * digestBytes;
}

export function sumsHeader(sizeBytes: number): Buffer {
  const header = Buffer.alloc(headerBytes);
  magic.copy(header);
  header.writeUInt32LE(version, 16);
  header.writeUInt32LE(sha256Algorithm, 20);
  header.writeBigUInt64LE(BigInt(blockBytes), 24);
  header.writeBigUInt64LE(BigInt(sizeBytes), 32);
  return header;
}

/** The size in bytes of what is summed, by a header of `headerBytes`. EIO: it is none; EOPNOTSUPP: of another kind. */
export function summedBytes(header: Buffer, path: string): number {
  if (header.length < headerBytes || !header.subarray(0, magic.length).equals(magic))
    throw new StillError('EIO', `${path} does not begin as a file of checksums does`);
  const kind = [header.readUInt32LE(16), header.readUInt32LE(20), header.readBigUInt64LE(24)];
  if (kind[0] !== version || kind[1] !== sha256Algorithm || kind[2] !== BigInt(blockBytes))
    throw new StillError(
      'EOPNOTSUPP',
      `${path} is of a kind that is not known here (version ${kind[0]}, algorithm ${kind[1]}, blocks of ${kind[2]} bytes)`,
    );
  const size = header.readBigUInt64LE(32);
  if (size > BigInt(Number.MAX_SAFE_INTEGER))
    throw new StillError('EIO', `${path} is damaged: it speaks of ${size} bytes`);
  return Number(size);
}

/** The digest of one block, whose bytes must not change before it is there. */
export function digestOf(bytes: Uint8Array): Promise<Buffer> {
  return sha256(bytes);
}

const zeros = Buffer.alloc(blockBytes);
const zeroDigests = new Map<number, Promise<Buffer>>();

/** The digest of so many zeros, at most a block. */
export function digestOfZeros(length: number): Promise<Buffer> {
  let digest = zeroDigests.get(length);
  if (!digest) {
    digest = digestOf(zeros.subarray(0, length));
    // There are two at most for each disk: a whole block's, and the last one's.
    zeroDigests.set(length, digest);
  }
  return digest;
}

/** How long a block is: the last one may be short. */
export function lengthOfBlock(block: number, sizeBytes: number): number {
  return Math.min(blockBytes, sizeBytes - block * blockBytes);
}
