import { StillError } from '../../errors.js';
import type { Time } from '../../time.js';
import type { Attributes, FileType } from '../../tree/attributes.js';
import { hasChecksum } from './checksum.js';
import type { Superblock } from './superblock.js';

// struct xfs_dinode of linux/fs/xfs/libxfs/xfs_format.h, big-endian but for the checksum
export const inodeMagic = 0x494e;
export const coreV2 = 100;
export const coreV3 = 176;
export const inodeAt = {
  mode: 2,
  version: 4,
  format: 5,
  size: 56,
  forkOffset: 82,
  attributesFormat: 83,
  flags: 90,
  changeCount: 104,
  checksum: 100,
  sequence: 112,
  flags2: 120,
  number: 152,
  uuid: 160,
} as const;

/** Bits of di_flags2. */
export const bigTime = 1 << 3;
export const largeExtentCounts = 1 << 4;
export const isMetadata = 1 << 5;
/** Bigtime counts nanoseconds from the first second of the old, signed 32-bit times on. */
const bigTimeEpoch = 2 ** 31;
const nanosecondsOfSecond = 1_000_000_000;
/** XFS_DINODE_FMT_*: how a fork holds what it holds. */
const deviceFormat = 0;
const extentsFormat = 2;

const typeOfFormat = new Map<number, FileType>([
  [0o010000, 'fifo'],
  [0o020000, 'character'],
  [0o040000, 'directory'],
  [0o060000, 'block'],
  [0o100000, 'file'],
  [0o120000, 'symlink'],
  [0o140000, 'socket'],
]);

/** What an inode tells of its file, but for what its forks hold. */
export interface XfsInode {
  readonly attributes: Attributes;
  /** It is the file system's own, no file. */
  readonly isMetadata: boolean;
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
  if (bytes.readUInt16BE(0) !== inodeMagic) throw damagedInode(number, 'its magic number is missing');
  const version = bytes.readUInt8(inodeAt.version);
  const isV3 = version === 3;
  if (isV3 !== (superblock.version === 5) || version < 1 || version > 3)
    throw damagedInode(number, `version ${version}`);
  if (isV3) mustBeItself(bytes, number, superblock, unsummed);
  const mode = bytes.readUInt16BE(inodeAt.mode);
  if (mode === 0) return undefined;
  const type = typeOfFormat.get(mode & 0o170000);
  if (type === undefined) throw damagedInode(number, `the mode ${mode.toString(8)}`);
  const size = wholeNumber(bytes, inodeAt.size);
  if (size > Number.MAX_SAFE_INTEGER)
    throw damagedInode(number, `a size of ${bytes.readBigUInt64BE(inodeAt.size)} bytes`);
  const flags2 = isV3 ? bytes.readUInt32BE(inodeAt.flags2 + 4) : 0;
  const time = (flags2 & bigTime) !== 0 ? bigTimeAt : legacyTimeAt;
  const extents = (flags2 & largeExtentCounts) !== 0 ? bytes.readUInt32BE(76) : bytes.readUInt16BE(80);
  const hasXattrs =
    bytes.readUInt8(inodeAt.forkOffset) !== 0 &&
    (bytes.readUInt8(inodeAt.attributesFormat) !== extentsFormat || extents !== 0);
  const attributes: Attributes = {
    inode: BigInt(number),
    type,
    permissions: mode & 0o7777,
    links: version === 1 ? bytes.readUInt16BE(6) : bytes.readUInt32BE(16),
    uid: bytes.readUInt32BE(8),
    gid: bytes.readUInt32BE(12),
    size,
    // Both forks together.
    allocated: Math.min(wholeNumber(bytes, 64) * superblock.blockSize, Number.MAX_SAFE_INTEGER),
    accessed: time(bytes, 32),
    modified: time(bytes, 40),
    changed: time(bytes, 48),
    freshSeconds: Number.POSITIVE_INFINITY,
    bare: hasXattrs ? undefined : true,
  };
  const isDevice = type === 'block' || type === 'character';
  return {
    attributes: isDevice ? { ...attributes, device: deviceOf(bytes, number, isV3) } : attributes,
    isMetadata: superblock.hasMetadataFolders && (flags2 & isMetadata) !== 0,
  };
}

export function damagedInode(number: number, how: string): StillError {
  return new StillError('EIO', `inode ${number} is damaged: ${how}`);
}

function mustBeItself(bytes: Buffer, number: number, { metaUuid }: Superblock, unsummed: boolean): void {
  if (!unsummed && !hasChecksum(bytes, inodeAt.checksum)) throw damagedInode(number, 'its checksum is wrong');
  const named = wholeNumber(bytes, inodeAt.number);
  if (named !== number) throw damagedInode(number, `it says that it is inode ${named}`);
  if (metaUuid.compare(bytes, inodeAt.uuid, inodeAt.uuid + 16) !== 0)
    throw damagedInode(number, 'it is of another file system');
}

/** The device that an inode stands for: `sysv_encode_dev` of linux/kdev_t.h. */
function deviceOf(bytes: Buffer, number: number, isV3: boolean): NonNullable<Attributes['device']> {
  if (bytes.readUInt8(inodeAt.format) !== deviceFormat) throw damagedInode(number, 'it tells no device');
  const device = bytes.readUInt32BE(isV3 ? coreV3 : coreV2);
  return { major: device >>> 18, minor: device & 0x3ffff };
}

function wholeNumber(bytes: Buffer, at: number): number {
  return bytes.readUInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4);
}

function legacyTimeAt(bytes: Buffer, at: number): Time {
  // Nanoseconds beyond a second would be none.
  return { seconds: bytes.readInt32BE(at), nanoseconds: Math.min(bytes.readUInt32BE(at + 4), 999_999_999) };
}

/** A division of 64 bits by parts of 16: what is in between fits into a number. */
function bigTimeAt(bytes: Buffer, at: number): Time {
  let seconds = 0;
  let rest = 0;
  for (let part = 0; part < 8; part += 2) {
    const value = rest * 65536 + bytes.readUInt16BE(at + part);
    const whole = Math.floor(value / nanosecondsOfSecond);
    seconds = seconds * 65536 + whole;
    rest = value - whole * nanosecondsOfSecond;
  }
  return { seconds: seconds - bigTimeEpoch, nanoseconds: rest };
}
