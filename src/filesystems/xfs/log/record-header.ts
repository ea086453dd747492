import { basicBlock } from '../addresses.js';

// struct xlog_rec_header of linux/fs/xfs/libxfs/xfs_log_format.h, big-endian but for the checksum
export const recordMagic = 0xfeedbabe;
/** Headers tell the cycles of so many bytes of a record: larger ones have several. */
export const bytesOfHeader = 32 * 1024;
const largestRecord = 256 * 1024;
const versionBits = 3;

export interface RecordHeader {
  /** Bytes of the record, without its headers. */
  readonly length: number;
  /** The log sequence number: the cycle in the upper 32 bits, the block in the lower ones. */
  readonly sequence: bigint;
  /** The block from which on the log was needed when this was written. */
  readonly tailBlock: number;
  /** Little-endian checksum; 0: none. */
  readonly checksum: number;
  readonly operations: number;
  /** How many blocks of 512 bytes the headers take up. */
  readonly headerBlocks: number;
  /** Which machine's byte order: XLOG_FMT_*. */
  readonly format: number;
  readonly uuid: Buffer;
  /** Bytes that one write could have at most. */
  readonly writeSize: number;
}

/** Undefined: it is no header, or one that can't be. */
export function parseRecordHeader(bytes: Buffer, logVersion: 1 | 2): RecordHeader | undefined {
  if (bytes.readUInt32BE(0) !== recordMagic) return undefined;
  const version = bytes.readUInt32BE(8);
  const length = bytes.readUInt32BE(12);
  const writeSize = bytes.readUInt32BE(320);
  const isLarge = logVersion === 2 && (version & 2) !== 0 && writeSize > bytesOfHeader;
  if (version === 0 || (version & ~versionBits) !== 0 || writeSize > largestRecord) return undefined;
  if (length > (isLarge ? writeSize : largestRecord)) return undefined;
  return {
    length,
    sequence: bytes.readBigUInt64BE(16),
    tailBlock: bytes.readUInt32BE(28),
    checksum: bytes.readUInt32LE(32),
    operations: bytes.readUInt32BE(40),
    headerBlocks: isLarge ? Math.ceil(writeSize / bytesOfHeader) : 1,
    format: bytes.readUInt32BE(300),
    uuid: Buffer.from(bytes.subarray(304, 320)),
    writeSize,
  };
}

/** How many blocks of 512 bytes a record takes up. */
export function blocksOf({ headerBlocks, length }: RecordHeader): number {
  return headerBlocks + Math.ceil(length / basicBlock);
}
