import { StillError } from '../../errors.js';
import { type Time, timeFromNanoseconds } from '../../time.js';
import type { FileType } from '../../tree/attributes.js';
import { hasChecksum } from './checksum.js';
import { extentRecordBytes } from './extent-records.js';
import type { Superblock } from './superblock.js';

// struct xfs_dinode of linux/fs/xfs/libxfs/xfs_format.h, big-endian but for the checksum
export const inodeMagic = 0x494e;
export const coreV2 = 100;
export const coreV3 = 176;
export const inodeAt = {
  mode: 2,
  version: 4,
  format: 5,
  changeCount: 104,
  checksum: 100,
  sequence: 112,
  flags2: 120,
  number: 152,
  uuid: 160,
} as const;

const onRealtimeDevice = 1 << 0;
/** Bits of di_flags2. */
export const bigTime = 1 << 3;
export const largeExtentCounts = 1 << 4;
export const isMetadata = 1 << 5;
/** Bigtime counts from the first second of the old, signed 32-bit times. */
const bigTimeEpoch = 2n ** 31n * 1_000_000_000n;

const typeOfFormat = new Map<number, FileType>([
  [0o010000, 'fifo'],
  [0o020000, 'character'],
  [0o040000, 'directory'],
  [0o060000, 'block'],
  [0o100000, 'file'],
  [0o120000, 'symlink'],
  [0o140000, 'socket'],
]);

/** How a fork holds what it holds: in the inode, by extents listed there, or by a tree of them. */
export type ForkFormat = 'device' | 'local' | 'extents' | 'tree';
const formats: readonly ForkFormat[] = ['device', 'local', 'extents', 'tree'];

/** One of the two forks of an inode: its data, or its attributes. */
export interface Fork {
  readonly format: ForkFormat;
  /** Its bytes in the inode: no more of them than it uses where that is told. */
  readonly bytes: Buffer;
  /** How many extents it has. */
  readonly extents: number;
}

export interface XfsInode {
  readonly number: number;
  readonly type: FileType;
  /** The low twelve bits of the mode. */
  readonly permissions: number;
  readonly links: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes. */
  readonly size: number;
  /** Blocks that both forks take up. */
  readonly blocks: number;
  readonly accessed: Time;
  readonly modified: Time;
  readonly changed: Time;
  readonly isOnRealtimeDevice: boolean;
  readonly isMetadata: boolean;
  readonly data: Fork;
  /** Undefined: it has no attributes. */
  readonly attributes: Fork | undefined;
}

/**
 * Reads an inode. Undefined: it is free. EIO: it is damaged. `unsummed`: some of its bytes came from the log, its checksum
 * is not theirs.
 */
export function parseInode(
  bytes: Buffer,
  number: number,
  superblock: Superblock,
  unsummed: boolean,
): XfsInode | undefined {
  const fault = (how: string): StillError => new StillError('EIO', `inode ${number} is damaged: ${how}`);
  if (bytes.readUInt16BE(0) !== inodeMagic) throw fault('its magic number is missing');
  const version = bytes.readUInt8(inodeAt.version);
  const isV3 = version === 3;
  if (isV3 !== (superblock.version === 5) || version < 1 || version > 3) throw fault(`version ${version}`);
  if (isV3) {
    if (!unsummed && !hasChecksum(bytes, inodeAt.checksum)) throw fault('its checksum is wrong');
    const named = wholeNumber(bytes, inodeAt.number);
    if (named !== number) throw fault(`it says that it is inode ${named}`);
    if (superblock.metaUuid.compare(bytes, inodeAt.uuid, inodeAt.uuid + 16) !== 0)
      throw fault('it is of another file system');
  }
  const mode = bytes.readUInt16BE(inodeAt.mode);
  if (mode === 0) return undefined;
  const type = typeOfFormat.get(mode & 0o170000);
  if (type === undefined) throw fault(`the mode ${mode.toString(8)}`);
  const flags2 = isV3 ? bytes.readUInt32BE(inodeAt.flags2 + 4) : 0;
  const size = wholeNumber(bytes, 56);
  if (size > Number.MAX_SAFE_INTEGER) throw fault(`a size of ${bytes.readBigUInt64BE(56)} bytes`);
  const hasLarge = (flags2 & largeExtentCounts) !== 0;
  const time = (flags2 & bigTime) !== 0 ? bigTimeAt : legacyTimeAt;
  const literal = bytes.subarray(isV3 ? coreV3 : coreV2);
  const attributesAt = bytes.readUInt8(82) * 8;
  if (attributesAt >= literal.length) throw fault(`its attributes begin at ${attributesAt}`);
  const fork = (area: Buffer, format: number, extents: number, used: number | undefined): Fork => {
    const name = formats[format];
    if (name === undefined) throw fault(`a fork of the format ${format}`);
    const length = name === 'local' ? used : name === 'extents' ? extents * extentRecordBytes : undefined;
    if (length !== undefined && length > area.length)
      throw fault(`a fork of ${length} bytes has ${area.length} in the inode`);
    // A copy: what it is cut from is a page of a cache.
    return { format: name, bytes: Buffer.from(area.subarray(0, length)), extents };
  };
  const attributesFormat = bytes.readUInt8(83);
  const attributeArea = literal.subarray(attributesAt);
  const attributeExtents = hasLarge ? bytes.readUInt32BE(76) : bytes.readUInt16BE(80);
  const isEmpty = attributesAt === 0 || (attributesFormat === 2 && attributeExtents === 0);
  return {
    number,
    type,
    permissions: mode & 0o7777,
    links: version === 1 ? bytes.readUInt16BE(6) : bytes.readUInt32BE(16),
    uid: bytes.readUInt32BE(8),
    gid: bytes.readUInt32BE(12),
    size,
    blocks: wholeNumber(bytes, 64),
    accessed: time(bytes, 32),
    modified: time(bytes, 40),
    changed: time(bytes, 48),
    isOnRealtimeDevice: type === 'file' && (bytes.readUInt16BE(90) & onRealtimeDevice) !== 0,
    isMetadata: superblock.hasMetadataFolders && (flags2 & isMetadata) !== 0,
    data: fork(
      attributesAt === 0 ? literal : literal.subarray(0, attributesAt),
      bytes.readUInt8(inodeAt.format),
      hasLarge ? wholeNumber(bytes, 24) : bytes.readUInt32BE(76),
      size,
    ),
    attributes: isEmpty ? undefined : fork(attributeArea, attributesFormat, attributeExtents, undefined),
  };
}

/** The device that an inode stands for: `sysv_encode_dev` of linux/kdev_t.h. EIO: its fork is no device's. */
export function deviceOf({ number, data }: XfsInode): { readonly major: number; readonly minor: number } {
  if (data.format !== 'device' || data.bytes.length < 4)
    throw new StillError('EIO', `inode ${number} is damaged: it tells no device`);
  const device = data.bytes.readUInt32BE(0);
  return { major: device >>> 18, minor: device & 0x3ffff };
}

function wholeNumber(bytes: Buffer, at: number): number {
  return bytes.readUInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4);
}

function legacyTimeAt(bytes: Buffer, at: number): Time {
  // Nanoseconds beyond a second would be none.
  return { seconds: bytes.readInt32BE(at), nanoseconds: Math.min(bytes.readUInt32BE(at + 4), 999_999_999) };
}

function bigTimeAt(bytes: Buffer, at: number): Time {
  return timeFromNanoseconds(bytes.readBigUInt64BE(at) - bigTimeEpoch);
}
