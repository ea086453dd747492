import { StillError } from '../../errors.js';
import { hasChecksum } from './checksum.js';

// struct xfs_dsb of linux/fs/xfs/libxfs/xfs_format.h, big-endian but for the checksum
const magic = 0x58465342;
const checksumAt = 224;

const versionBits = { number: 0x000f, shared: 0x0200, logV2: 0x0400, directoryV2: 0x2000, asciiCi: 0x4000 };
const moreBits = 0x8000;
/** Of sb_features2, which stands only where `moreBits` is set. */
const fileTypesV4 = 0x200;

const incompatible = {
  fileTypes: 1 << 0,
  sparseInodes: 1 << 1,
  metaUuid: 1 << 2,
  bigTime: 1 << 3,
  needsRepair: 1 << 4,
  largeExtentCounts: 1 << 5,
  exchangeRange: 1 << 6,
  parentPointers: 1 << 7,
  metadataFolders: 1 << 8,
} as const;
const known = Object.values(incompatible).reduce((bits, bit) => bits | bit, 0);
/** What is named when it is refused. */
const refused = new Map([
  [1 << 9, 'zoned'],
  [1 << 10, 'zone_gaps'],
]);

/** The superblock. Blocks are those of the file system; offsets on the disk are bytes. */
export interface Superblock {
  readonly version: 4 | 5;
  /** Bytes. */
  readonly blockSize: number;
  /** Bytes. */
  readonly sectorSize: number;
  /** Blocks of the data section. */
  readonly dataBlocks: number;
  readonly groupCount: number;
  /** Blocks in an allocation group; the last one may have fewer. */
  readonly groupBlocks: number;
  /** How many bits the number of a block in its group takes up. */
  readonly groupBlockBits: number;
  /** Bytes. */
  readonly inodeSize: number;
  /** How many bits the number of an inode in its block takes up. */
  readonly inodesPerBlockBits: number;
  /** In blocks. */
  readonly inodeAlignment: number;
  /** Bytes. */
  readonly folderBlockSize: number;
  readonly rootInode: number;
  /** Inodes that hold quotas, the realtime device's maps and such: no files. */
  readonly internalInodes: ReadonlySet<number>;
  readonly hasFileTypes: boolean;
  /** Names are compared without regard to case. */
  readonly ignoresCase: boolean;
  readonly hasMetadataFolders: boolean;
  readonly needsRepair: boolean;
  readonly log: LogPlace;
  readonly uuid: string;
  /** What tells this file system's metadata from that of others. */
  readonly metaUuid: Buffer;
  /** Whether that is another one than the file system shows. */
  readonly hasMetaUuid: boolean;
  readonly logUuid: Buffer;
  readonly label: string;
  readonly freeBlocks: number;
  /** Inodes that are in use. */
  readonly usedInodes: number;
}

export interface LogPlace {
  /** Its first block; 0 where the log is on a disk of its own. */
  readonly start: number;
  readonly blocks: number;
  readonly version: 1 | 2;
}

/** Whether the first 64 KiB of a disk look like XFS. */
export function isSuperblock(first: Buffer): boolean {
  if (first.length < 512 || first.readUInt32BE(0) !== magic) return false;
  const version = first.readUInt16BE(100) & versionBits.number;
  return version >= 1 && version <= 5 && geometryFault(first) === undefined;
}

/**
 * EIO: it is damaged. EOPNOTSUPP: it has features that are not read. `unsummed`: some of its bytes came from the log, its
 * checksum is not theirs.
 */
export function parseSuperblock(bytes: Buffer, unsummed = false): Superblock {
  if (bytes.length < 512 || bytes.readUInt32BE(0) !== magic) throw damaged('its magic number is missing');
  const bits = bytes.readUInt16BE(100);
  const version = bits & versionBits.number;
  if (version !== 4 && version !== 5) throw unread(`version ${version}`);
  const fault = geometryFault(bytes);
  if (fault !== undefined) throw damaged(fault);
  const sectorSize = bytes.readUInt16BE(102);
  if (version === 5 && !unsummed && !hasChecksum(bytes.subarray(0, sectorSize), checksumAt))
    throw damaged('its checksum is wrong');
  if ((bits & versionBits.shared) !== 0) throw unread('the feature "shared"');
  if ((bits & versionBits.directoryV2) === 0) throw unread('folders of version 1');
  const features = version === 5 ? bytes.readUInt32BE(216) : 0;
  for (let bit = 0; bit < 32; bit++) {
    const feature = 2 ** bit;
    if ((features & feature) !== 0 && (known & feature) === 0)
      throw unread(`the feature ${JSON.stringify(refused.get(feature) ?? `incompat bit ${bit}`)}`);
  }
  if (bytes[126] !== 0) throw damaged('mkfs.xfs has not ended');
  const has = (feature: number): boolean => (features & feature) !== 0;
  const more = (bits & moreBits) !== 0 ? bytes.readUInt32BE(200) : 0;
  const blockSize = bytes.readUInt32BE(4);
  const uuid = Buffer.from(bytes.subarray(32, 48));
  const metaUuid = has(incompatible.metaUuid) ? Buffer.from(bytes.subarray(248, 264)) : uuid;
  const internal = [72, 80, 160, 168, ...(version === 5 ? [232] : [])];
  if (has(incompatible.metadataFolders)) internal.push(264);
  return {
    version,
    blockSize,
    sectorSize,
    dataBlocks: whole(bytes, 8),
    groupCount: bytes.readUInt32BE(88),
    groupBlocks: bytes.readUInt32BE(84),
    groupBlockBits: byteAt(bytes, 124),
    inodeSize: bytes.readUInt16BE(104),
    inodesPerBlockBits: byteAt(bytes, 123),
    inodeAlignment: bytes.readUInt32BE(180),
    folderBlockSize: blockSize * 2 ** byteAt(bytes, 192),
    rootInode: whole(bytes, 56),
    internalInodes: new Set(internal.map((at) => Number(bytes.readBigUInt64BE(at)))),
    hasFileTypes: version === 5 ? has(incompatible.fileTypes) : (more & fileTypesV4) !== 0,
    ignoresCase: (bits & versionBits.asciiCi) !== 0,
    hasMetadataFolders: has(incompatible.metadataFolders),
    needsRepair: has(incompatible.needsRepair),
    log: {
      start: whole(bytes, 48),
      blocks: bytes.readUInt32BE(96),
      version: version === 5 || (bits & versionBits.logV2) !== 0 ? 2 : 1,
    },
    uuid: uuidText(uuid),
    metaUuid,
    hasMetaUuid: has(incompatible.metaUuid),
    logUuid: uuid,
    label: labelOf(bytes.subarray(108, 120)),
    freeBlocks: Number(bytes.readBigUInt64BE(144)),
    usedInodes: Math.max(Number(bytes.readBigUInt64BE(128)) - Number(bytes.readBigUInt64BE(136)), 0),
  };
}

/** What of the sizes can't be; undefined where all can. */
function geometryFault(bytes: Buffer): string | undefined {
  const logOf = (at: number): number => 2 ** byteAt(bytes, at);
  const blockSize = bytes.readUInt32BE(4);
  const sectorSize = bytes.readUInt16BE(102);
  const inodeSize = bytes.readUInt16BE(104);
  const groupBlocks = bytes.readUInt32BE(84);
  const groupCount = bytes.readUInt32BE(88);
  const dataBlocks = bytes.readBigUInt64BE(8);
  if (blockSize < 512 || blockSize > 65536 || blockSize !== logOf(120)) return `blocks of ${blockSize} bytes`;
  if (sectorSize < 512 || sectorSize > 32768 || sectorSize !== logOf(121) || sectorSize > bytes.length)
    return `sectors of ${sectorSize} bytes`;
  if (inodeSize < 256 || inodeSize > 2048 || inodeSize !== logOf(122) || inodeSize > blockSize)
    return `inodes of ${inodeSize} bytes`;
  if (logOf(123) * inodeSize !== blockSize) return `${logOf(123)} inodes in a block`;
  if (blockSize * logOf(192) > 65536) return `folders' blocks of ${blockSize * logOf(192)} bytes`;
  if (groupCount === 0 || groupBlocks < 64 || byteAt(bytes, 124) > 31 || groupBlocks > logOf(124))
    return `${groupCount} allocation groups of ${groupBlocks} blocks`;
  const fits = dataBlocks <= BigInt(groupCount) * BigInt(groupBlocks);
  if (!fits || dataBlocks <= BigInt(groupCount - 1) * BigInt(groupBlocks))
    return `${dataBlocks} blocks in ${groupCount} allocation groups`;
  if (dataBlocks * BigInt(blockSize) > BigInt(Number.MAX_SAFE_INTEGER)) return `${dataBlocks} blocks`;
  return undefined;
}

function byteAt(bytes: Buffer, at: number): number {
  return bytes.readUInt8(at);
}

function whole(bytes: Buffer, at: number): number {
  const value = bytes.readBigUInt64BE(at);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw damaged(`${value} stands at ${at} of it`);
  return Number(value);
}

function uuidText(bytes: Buffer): string {
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

function labelOf(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end === -1 ? bytes.length : end);
}

function unread(what: string): StillError {
  return new StillError('EOPNOTSUPP', `an XFS file system with ${what} is not read`);
}

function damaged(how: string): StillError {
  return new StillError('EIO', `the superblock of the XFS file system is damaged: ${how}`);
}
