import { StillError } from '../../errors.js';
import type { Time } from '../../time.js';
import type { Attributes, FileType } from '../../tree/attributes.js';
import { crc32c } from '../crc32c.js';
import type { Superblock } from './superblock.js';

// linux fs/ext4/ext4.h: struct ext4_inode
const oldBytes = 128;
const blockFieldAt = 0x28;
/** Of i_block: twelve blocks and three trees of blocks, or an extent tree's root, a short symlink, the first inline data. */
export const blockFieldBytes = 60;
const checksumLow = 0x7c;
const checksumHigh = 0x82;
const attributesMagic = 0xea02_0000;
const most32 = 2 ** 32;
const mostNanoseconds = 999_999_999;

/** EXT4_*_FL of i_flags. */
export const inodeFlag = {
  encrypted: 0x800,
  indexed: 0x1000,
  hugeFile: 0x40000,
  extents: 0x80000,
  attributeValue: 0x20_0000,
  inlineData: 0x1000_0000,
  casefolded: 0x4000_0000,
} as const;

const types = new Map<number, FileType>([
  [0x1, 'fifo'],
  [0x2, 'character'],
  [0x4, 'directory'],
  [0x6, 'block'],
  [0x8, 'file'],
  [0xa, 'symlink'],
  [0xc, 'socket'],
]);

/** An inode as it is stored, checked. */
export interface ExtInode {
  readonly number: number;
  /** All of stat(2); the size is that of the bytes, and `allocated` what i_blocks tells. */
  readonly attributes: Attributes;
  readonly flags: number;
  /** A copy of i_block. */
  readonly blockField: Buffer;
  /** The block of extended attributes; 0 where there is none. */
  readonly attributeBlock: number;
  /** Where the extended attributes in the inode itself begin, after their magic number; 0 where there are none. */
  readonly attributesAt: number;
  /** What the checksums of the inode's own blocks begin with. */
  readonly checksumSeed: number | undefined;
}

export function hasFlag(inode: ExtInode, flag: keyof typeof inodeFlag): boolean {
  return (inode.flags & inodeFlag[flag]) !== 0;
}

/** Reads and checks an inode. ESTALE: it is free. EIO: it is damaged. */
export function parseInode(superblock: Superblock, number: number, bytes: Buffer): ExtInode {
  const attributes = parseAttributes(superblock, number, bytes);
  const blockField = Buffer.allocUnsafe(blockFieldBytes);
  bytes.copy(blockField, 0, blockFieldAt, blockFieldAt + blockFieldBytes);
  return {
    number,
    attributes,
    flags: flagsOf(bytes),
    blockField,
    attributeBlock: attributeBlockOf(superblock, bytes),
    attributesAt: attributesAt(bytes),
    checksumSeed: seedOf(superblock, number, bytes),
  };
}

/**
 * Checks an inode, and reads what stat(2) tells of it: all that a listing needs. The size is that of the bytes that are stored, which
 * for an encrypted symlink is not the one it is shown with. ESTALE: it is free. EIO: it is damaged.
 */
export function parseAttributes(superblock: Superblock, number: number, bytes: Buffer): Attributes {
  const mode = bytes.readUInt16LE(0x00);
  const links = bytes.readUInt16LE(0x1a);
  if (mode === 0 || links === 0)
    throw new StillError('ESTALE', `inode ${number} of the ext file system is free`);
  const extraBytes = extraBytesOf(bytes);
  const checksumSeed = seedOf(superblock, number, bytes);
  if (checksumSeed !== undefined && !isIntact(bytes, extraBytes, checksumSeed))
    throw damaged(number, 'its checksum is wrong');
  const end = oldBytes + extraBytes;
  if (end > bytes.length || extraBytes % 4 !== 0)
    throw damaged(number, `it is said to have ${extraBytes} more bytes`);
  const type = types.get(mode >>> 12);
  if (type === undefined) throw damaged(number, `it is of the unknown type ${mode >>> 12}`);

  const { features } = superblock;
  const flags = flagsOf(bytes);
  const sizeHigh = type === 'file' || features.largeDirectories ? bytes.readUInt32LE(0x6c) : 0;
  const size = bytes.readUInt32LE(0x04) + sizeHigh * most32;
  if (size > Number.MAX_SAFE_INTEGER) throw damaged(number, `it is said to have ${size} bytes`);
  const units = bytes.readUInt32LE(0x1c) + (features.hugeFiles ? bytes.readUInt16LE(0x74) * most32 : 0);
  const inBlocks = features.hugeFiles && (flags & inodeFlag.hugeFile) !== 0;
  const allocated = units * (inBlocks ? superblock.blockBytes : 512);
  // Linux tells of the room that inline data takes up, too: programs would think that the file is all holes.
  const inline = type === 'file' && (flags & inodeFlag.inlineData) !== 0 ? Math.ceil(size / 512) * 512 : 0;
  const isBare = attributesAt(bytes) === 0 && attributeBlockOf(superblock, bytes) === 0;
  // All of one shape: they are made for each file of a listing.
  const attributes: Attributes = {
    inode: BigInt(number),
    type,
    permissions: mode & 0o7777,
    links,
    uid: bytes.readUInt16LE(0x02) + bytes.readUInt16LE(0x78) * 65536,
    gid: bytes.readUInt16LE(0x18) + bytes.readUInt16LE(0x7a) * 65536,
    size,
    allocated: allocated + inline,
    accessed: timeAt(bytes, 0x08, 0x8c, end),
    modified: timeAt(bytes, 0x10, 0x88, end),
    changed: timeAt(bytes, 0x0c, 0x84, end),
    freshSeconds: Number.POSITIVE_INFINITY,
    bare: isBare ? true : undefined,
  };
  if (type !== 'block' && type !== 'character') return attributes;
  return { ...attributes, device: deviceOf(bytes) };
}

/** Whether an inode is a symlink that is shown with another target, and another size, than it is stored with. */
export function isEncryptedSymlink(bytes: Buffer): boolean {
  return (
    types.get(bytes.readUInt16LE(0x00) >>> 12) === 'symlink' && (flagsOf(bytes) & inodeFlag.encrypted) !== 0
  );
}

function flagsOf(bytes: Buffer): number {
  return bytes.readUInt32LE(0x20);
}

/** Of the fields behind those that all inodes have (i_extra_isize). */
function extraBytesOf(bytes: Buffer): number {
  return bytes.length > oldBytes ? bytes.readUInt16LE(oldBytes) : 0;
}

function attributeBlockOf({ features }: Superblock, bytes: Buffer): number {
  return bytes.readUInt32LE(0x68) + (features.is64bit ? bytes.readUInt16LE(0x76) * most32 : 0);
}

function attributesAt(bytes: Buffer): number {
  const end = oldBytes + extraBytesOf(bytes);
  const has =
    bytes.length > oldBytes && end + 4 <= bytes.length && bytes.readUInt32LE(end) === attributesMagic;
  return has ? end + 4 : 0;
}

function seedOf({ checksumSeed }: Superblock, number: number, bytes: Buffer): number | undefined {
  if (checksumSeed === undefined) return undefined;
  numberBytes.writeUInt32LE(number);
  // i_generation
  return crc32c(crc32c(checksumSeed, numberBytes), bytes, 0x64, 0x68);
}

const numberBytes = Buffer.alloc(4);
const zeros = Buffer.alloc(2);

/** Whether the checksum is right: it is made of the inode with zeros in its place, the higher half only where it has room. */
function isIntact(bytes: Buffer, extraBytes: number, seed: number): boolean {
  let checksum = crc32c(seed, bytes, 0, checksumLow);
  checksum = crc32c(checksum, zeros);
  const low = bytes.readUInt16LE(checksumLow);
  if (bytes.length === oldBytes || oldBytes + extraBytes < checksumHigh + 2)
    return (crc32c(checksum, bytes, checksumLow + 2) & 0xffff) === low;
  checksum = crc32c(checksum, bytes, checksumLow + 2, checksumHigh);
  checksum = crc32c(checksum, zeros);
  checksum = crc32c(checksum, bytes, checksumHigh + 2);
  return checksum === low + bytes.readUInt16LE(checksumHigh) * 65536;
}

/**
 * Seconds, of which two more bits are the lowest of the other field, where the inode has one (`end`: how far it goes); that one's others
 * are nanoseconds.
 */
function timeAt(bytes: Buffer, at: number, extraAt: number, end: number): Time {
  const extra = extraAt + 4 <= end ? bytes.readUInt32LE(extraAt) : 0;
  return {
    seconds: bytes.readInt32LE(at) + (extra & 3) * most32,
    nanoseconds: Math.min(extra >>> 2, mostNanoseconds),
  };
}

/** old_decode_dev and new_decode_dev of linux/kdev_t.h: which one, the first number tells. */
function deviceOf(bytes: Buffer): { major: number; minor: number } {
  const old = bytes.readUInt32LE(blockFieldAt);
  if (old !== 0) return { major: (old >>> 8) & 0xff, minor: old & 0xff };
  const number = bytes.readUInt32LE(blockFieldAt + 4);
  return { major: (number >>> 8) & 0xfff, minor: (number & 0xff) | ((number >>> 12) & 0xfff00) };
}

/** What is wrong with an inode, as an error. */
export function damaged(number: number, how: string): StillError {
  return new StillError('EIO', `inode ${number} of the ext file system is damaged: ${how}`);
}
