import { StillError } from '../../errors.js';

// fs/squashfs/squashfs_fs.h: struct squashfs_super_block, all little-endian
const magic = 0x73717368;
const magicOfOtherByteOrder = 0x68737173;
const magicOfLzma = 0x71736873;
export const superblockBytes = 96;
const smallestBlock = 4096;
const largestBlock = 1 << 20;
const compressorOptions = 1 << 10;
/** How much a table of inodes may hold, so that an inode's number (its place) stays below 2^43. */
const mostInodeBytes = 2 ** 30 - 1;
const absent = 0xffff_ffff_ffff_ffffn;

const compressors = new Map([
  [1, 'gzip'],
  [2, 'lzma'],
  [3, 'lzo'],
  [4, 'xz'],
  [5, 'lz4'],
  [6, 'zstd'],
] as const);
export type Compressor = Exclude<typeof compressors extends Map<number, infer C> ? C : never, 'lzma'>;

/** Where the compressed inode or directory table lies in the image, in bytes. */
export interface TableRange {
  readonly start: number;
  readonly end: number;
}

/** What the first 96 bytes of an image tell. Places are bytes from the image's start. */
export interface Superblock {
  readonly inodes: number;
  /** Bytes of a whole data block: a power of two from 4 KiB to 1 MiB. */
  readonly blockSize: number;
  readonly fragments: number;
  readonly compressor: Compressor;
  /** Whether a metadata block with the compressor's options follows the superblock. */
  readonly hasCompressorOptions: boolean;
  readonly ids: number;
  readonly root: { readonly block: number; readonly offset: number };
  readonly bytesUsed: number;
  readonly inodeTable: TableRange;
  readonly directoryTable: TableRange;
  /** Where the list of the table's metadata blocks begins. */
  readonly idTable: number;
  readonly fragmentTable: number | undefined;
  readonly exportTable: number | undefined;
  readonly xattrTable: number | undefined;
}

/** Reads and checks a superblock. EIO: it is damaged, or none. EOPNOTSUPP: of a kind that is not read here. */
export function parseSuperblock(bytes: Buffer, imageBytes: number): Superblock {
  if (bytes.length < superblockBytes)
    throw new StillError(
      'EIO',
      `no squashfs image: ${bytes.length} bytes are too few, a superblock alone has ${superblockBytes}`,
    );
  mustBeVersion4(bytes);
  const blockSize = bytes.readUInt32LE(12);
  const blockLog = bytes.readUInt16LE(22);
  const isPowerOfTwo = (blockSize & (blockSize - 1)) === 0;
  if (blockSize < smallestBlock || blockSize > largestBlock || !isPowerOfTwo || 2 ** blockLog !== blockSize)
    throw damaged(`blocks of ${blockSize} bytes (2^${blockLog}) are not of 4 KiB to 1 MiB`);

  const bytesUsed = placeAt(bytes, 40, 'its end') ?? 0;
  if (bytesUsed < superblockBytes) throw damaged(`it is said to have ${bytesUsed} bytes`);
  if (bytesUsed > imageBytes)
    throw new StillError(
      'EIO',
      `the squashfs image is cut short: it has ${imageBytes} of its ${bytesUsed} bytes, and its tables are at its end; copy it anew`,
    );

  const place = (at: number, what: string): number => {
    const value = placeAt(bytes, at, what);
    if (value === undefined || value < superblockBytes || value >= bytesUsed)
      throw damaged(`${what} lies at ${value ?? 'no place'}, outside of its ${bytesUsed} bytes`);
    return value;
  };
  const optional = (at: number, what: string): number | undefined =>
    bytes.readBigUInt64LE(at) === absent ? undefined : place(at, what);

  const idTable = place(48, 'the table of ids');
  const xattrTable = optional(56, 'the table of extended attributes');
  const inodeStart = place(64, 'the table of inodes');
  const directoryStart = place(72, 'the table of directories');
  const fragmentTable = optional(80, 'the table of fragments');
  const exportTable = optional(88, 'the export table');
  const following = [fragmentTable, exportTable, idTable, xattrTable].filter(
    (start): start is number => start !== undefined && start >= directoryStart,
  );
  const directoryEnd = Math.min(bytesUsed, ...following);
  if (inodeStart >= directoryStart)
    throw damaged('its table of inodes does not lie before that of directories');
  if (directoryStart - inodeStart > mostInodeBytes)
    throw new StillError(
      'EFBIG',
      `the squashfs image has ${directoryStart - inodeStart} bytes of inodes; 2^30, some 50 million files, are the most that can be shown`,
    );

  const inodes = bytes.readUInt32LE(4);
  const ids = bytes.readUInt16LE(26);
  if (inodes === 0 || ids === 0) throw damaged(`it is said to have ${inodes} inodes and ${ids} ids`);
  const fragments = bytes.readUInt32LE(16);
  if (fragments > 0 && fragmentTable === undefined)
    throw damaged(`it is said to have ${fragments} fragments and no table of them`);
  const root = bytes.readBigUInt64LE(32);
  return {
    inodes,
    blockSize,
    fragments,
    compressor: compressorOf(bytes.readUInt16LE(20)),
    hasCompressorOptions: (bytes.readUInt16LE(24) & compressorOptions) !== 0,
    ids,
    root: rootAt(root, directoryStart - inodeStart),
    bytesUsed,
    inodeTable: { start: inodeStart, end: directoryStart },
    directoryTable: { start: directoryStart, end: directoryEnd },
    idTable,
    fragmentTable: fragments === 0 ? undefined : fragmentTable,
    exportTable,
    xattrTable,
  };
}

function mustBeVersion4(bytes: Buffer): void {
  const found = bytes.readUInt32LE(0);
  if (found === magicOfOtherByteOrder)
    throw new StillError('EOPNOTSUPP', 'a big-endian squashfs image, older than version 4: not supported');
  if (found === magicOfLzma)
    throw new StillError('EOPNOTSUPP', 'a squashfs image of an old LZMA patch: not supported');
  if (found !== magic) throw new StillError('EIO', `no squashfs image: it begins with ${found.toString(16)}`);
  const [major, minor] = [bytes.readUInt16LE(28), bytes.readUInt16LE(30)];
  if (major !== 4 || minor !== 0)
    throw new StillError(
      'EOPNOTSUPP',
      `a squashfs image of version ${major}.${minor}; only 4.0 is supported`,
    );
}

function compressorOf(number: number): Compressor {
  const name = [...compressors].find(([each]) => each === number)?.[1];
  if (name === undefined)
    throw new StillError('EOPNOTSUPP', `a squashfs image of the unknown compression ${number}`);
  if (name === 'lzma')
    throw new StillError(
      'EOPNOTSUPP',
      'a squashfs image compressed with lzma, which Linux does not read either',
    );
  return name;
}

/** A reference to an inode: 32 bits of where its metadata block begins in the table, 16 bits of where it is in there. */
function rootAt(reference: bigint, tableBytes: number): Superblock['root'] {
  const block = Number(reference >> 16n);
  const offset = Number(reference & 0xffffn);
  if (block >= tableBytes || offset >= 8192)
    throw damaged(`its root is at ${block}, ${offset}, outside of the table of inodes`);
  return { block, offset };
}

function placeAt(bytes: Buffer, at: number, what: string): number | undefined {
  const value = bytes.readBigUInt64LE(at);
  if (value === absent) return undefined;
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw damaged(`${what} lies at ${value}`);
  return Number(value);
}

function damaged(what: string): StillError {
  return new StillError('EIO', `the superblock of the squashfs image is damaged: ${what}`);
}
