import { StillError } from '../../errors.js';
import { crc32c } from '../crc32c.js';
import type { FileSystemKind } from '../file-system.js';
import { type Features, featuresOf, kindOf, mustBeReadable } from './features.js';

// linux fs/ext4/ext4.h: struct ext4_super_block, little-endian, 1024 bytes from the start of the disk
export const superblockOffset = 1024;
export const superblockBytes = 1024;
const magic = 0xef53;
const dynamicRevision = 1;
const oldInodeBytes = 128;
const oldFirstInode = 11;
const smallestDescriptor = 32;
const smallestWideDescriptor = 64;
const largestDescriptor = 1024;
const unsignedHash = 0x2;
const errorsFound = 0x2;
const checksumAt = 0x3fc;
const startOfChecksums = 0xffff_ffff;
/** fs/ext4/ext4.h, EXT4_DEF_RESERVED and others: the root's inode. */
export const rootInode = 2;

/** What the superblock tells. Blocks are numbered from the start of the disk. */
export interface Superblock {
  readonly kind: FileSystemKind;
  readonly features: Features;
  readonly uuid: Buffer;
  readonly label: string;
  /** Bytes, from 1 KiB to 64 KiB. */
  readonly blockBytes: number;
  readonly blocks: number;
  readonly freeBlocks: number;
  /** Blocks that no file can have: tables, bitmaps, the journal. */
  readonly overheadBlocks: number;
  readonly firstDataBlock: number;
  readonly blocksPerGroup: number;
  /** Sectors of 512 bytes that the smallest allocation takes up. */
  readonly clusterSectors: number;
  readonly groups: number;
  readonly inodes: number;
  readonly inodesPerGroup: number;
  readonly inodeBytes: number;
  /** The first inode that an ordinary file can have. */
  readonly firstInode: number;
  readonly descriptorBytes: number;
  readonly firstMetaGroup: number;
  /** Of sparse_super2: the two groups with a copy of the superblock. */
  readonly backupGroups: readonly number[];
  readonly hash: { readonly seed: readonly number[]; readonly version: number; readonly unsigned: boolean };
  /** What metadata's checksums begin with, where there are any. */
  readonly checksumSeed: number | undefined;
  /** What those of attributes' values in inodes of their own begin with. */
  readonly valueSeed: number;
  /** The journal's inode; 0 where it is none of this file system's. */
  readonly journalInode: number;
  readonly lastOrphan: number;
  /** Whether its own system found it damaged. */
  readonly hasErrors: boolean;
  /** Whether the checksum of the superblock itself is right. */
  readonly intact: boolean;
}

/** Whether the first bytes of a disk look like those of an ext2, ext3 or ext4 file system. */
export function hasExtSuperblock(first: Buffer): boolean {
  if (first.length < superblockOffset + superblockBytes) return false;
  const bytes = first.subarray(superblockOffset, superblockOffset + superblockBytes);
  return (
    bytes.readUInt16LE(0x38) === magic &&
    bytes.readUInt32LE(0x18) <= 6 &&
    bytes.readUInt32LE(0x4c) <= dynamicRevision &&
    bytes.readUInt32LE(0x00) > 0 &&
    bytes.readUInt32LE(0x20) > 0 &&
    bytes.readUInt32LE(0x28) > 0
  );
}

/**
 * Reads and checks a superblock. EIO: it is damaged, or none. EOPNOTSUPP: the file system has features that are not read
 * here.
 */
export function parseSuperblock(bytes: Buffer): Superblock {
  if (bytes.length < superblockBytes || bytes.readUInt16LE(0x38) !== magic)
    throw new StillError('EIO', 'no ext2, ext3 or ext4 file system: its superblock has another magic number');
  const isDynamic = bytes.readUInt32LE(0x4c) >= dynamicRevision;
  const features = featuresOf(bytes, isDynamic);
  mustBeReadable(features);

  const blockLog = bytes.readUInt32LE(0x18);
  if (blockLog > 6) throw damaged(`blocks of 2^${blockLog + 10} bytes`);
  const blockBytes = 1024 << blockLog;
  const clusterLog = bytes.readUInt32LE(0x1c);
  if (features.bigalloc && (clusterLog < blockLog || clusterLog > 20))
    throw damaged(`clusters of 2^${clusterLog + 10} bytes`);
  const clusterBlocks = features.bigalloc ? 2 ** (clusterLog - blockLog) : 1;

  const wide = (low: number, high: number): number =>
    bytes.readUInt32LE(low) + (features.is64bit ? bytes.readUInt32LE(high) * 2 ** 32 : 0);
  const blocks = wide(0x04, 0x150);
  const firstDataBlock = bytes.readUInt32LE(0x14);
  if (firstDataBlock >= blocks || firstDataBlock > 1 || blocks * blockBytes > Number.MAX_SAFE_INTEGER)
    throw damaged(`${blocks} blocks of which ${firstDataBlock} is the first`);
  const blocksPerGroup = bytes.readUInt32LE(0x20);
  if (blocksPerGroup === 0 || blocksPerGroup > blockBytes * 8 * clusterBlocks)
    throw damaged(`${blocksPerGroup} blocks in each group`);

  const inodeBytes = isDynamic ? bytes.readUInt16LE(0x58) : oldInodeBytes;
  if (inodeBytes < oldInodeBytes || inodeBytes > blockBytes || !isPowerOfTwo(inodeBytes))
    throw damaged(`inodes of ${inodeBytes} bytes`);
  const inodesPerGroup = bytes.readUInt32LE(0x28);
  if (inodesPerGroup === 0 || inodesPerGroup > blockBytes * 8)
    throw damaged(`${inodesPerGroup} inodes in each group`);
  const groups = Math.ceil((blocks - firstDataBlock) / blocksPerGroup);
  const inodes = bytes.readUInt32LE(0x00);
  if (inodes !== groups * inodesPerGroup)
    throw damaged(`${inodes} inodes in ${groups} groups of ${inodesPerGroup} each`);

  const descriptorBytes = features.is64bit ? bytes.readUInt16LE(0xfe) : smallestDescriptor;
  const least = features.is64bit ? smallestWideDescriptor : smallestDescriptor;
  if (descriptorBytes < least || descriptorBytes > largestDescriptor || !isPowerOfTwo(descriptorBytes))
    throw damaged(`group descriptors of ${descriptorBytes} bytes`);

  const uuid = Buffer.from(bytes.subarray(0x68, 0x78));
  const flags = bytes.readUInt32LE(0x160);
  const checksum = crc32c(startOfChecksums, bytes, 0, checksumAt);
  const seed = features.checksumSeed ? bytes.readUInt32LE(0x270) : crc32c(startOfChecksums, uuid);
  return {
    kind: kindOf(features),
    features,
    uuid,
    label: textAt(bytes, 0x78, 16),
    blockBytes,
    blocks,
    freeBlocks: wide(0x0c, 0x158),
    overheadBlocks: bytes.readUInt32LE(0x248) * clusterBlocks,
    firstDataBlock,
    blocksPerGroup,
    clusterSectors: (clusterBlocks * blockBytes) / 512,
    groups,
    inodes,
    inodesPerGroup,
    inodeBytes,
    firstInode: isDynamic ? bytes.readUInt32LE(0x54) : oldFirstInode,
    descriptorBytes,
    firstMetaGroup: bytes.readUInt32LE(0x104),
    backupGroups: [bytes.readUInt32LE(0x24c), bytes.readUInt32LE(0x250)],
    hash: {
      seed: [0xec, 0xf0, 0xf4, 0xf8].map((at) => bytes.readUInt32LE(at)),
      version: bytes.readUInt8(0xfc),
      unsigned: (flags & unsignedHash) !== 0,
    },
    checksumSeed: features.metadataChecksums ? seed : undefined,
    valueSeed: seed,
    journalInode: features.journal ? bytes.readUInt32LE(0xe0) : 0,
    lastOrphan: bytes.readUInt32LE(0xe8),
    hasErrors: (bytes.readUInt16LE(0x3a) & errorsFound) !== 0,
    intact: !features.metadataChecksums || bytes.readUInt32LE(checksumAt) === checksum,
  };
}

/** Whether a group begins with a copy of the superblock (ext4_bg_has_super). */
export function hasSuperblockCopy({ features, backupGroups }: Superblock, group: number): boolean {
  if (group === 0) return true;
  if (features.sparseSuper2) return backupGroups.includes(group);
  if (group === 1 || !features.sparseSuper) return true;
  return [3, 5, 7].some((base) => isPowerOf(base, group));
}

function isPowerOf(base: number, number: number): boolean {
  let power = base;
  while (power < number) power *= base;
  return power === number;
}

function isPowerOfTwo(number: number): boolean {
  return (number & (number - 1)) === 0;
}

function textAt(bytes: Buffer, at: number, length: number): string {
  const field = bytes.subarray(at, at + length);
  const end = field.indexOf(0);
  return field.toString('utf8', 0, end < 0 ? length : end);
}

function damaged(what: string): StillError {
  return new StillError('EIO', `the superblock of the ext file system is damaged: it tells of ${what}`);
}
