import { extentRecordBytes } from './extent-records.js';
import { coreV2, coreV3, damagedInode, inodeAt, largeExtentCounts } from './inode.js';

/** Of di_flags. */
const realtimeFlag = 1 << 0;

/** How a fork holds what it holds: in the inode, by extents listed there, or by a tree of them. XFS_DINODE_FMT_*. */
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

/** What an inode tells of where its file's bytes are. */
export interface InodeForks {
  readonly number: number;
  /** Bytes. */
  readonly size: number;
  readonly isOnRealtimeDevice: boolean;
  readonly data: Fork;
  /** Undefined: it has no attributes. */
  readonly attributes: Fork | undefined;
}

/** Reads the forks of an inode that `parseInode` has read. EIO: they are damaged. */
export function parseForks(bytes: Buffer, number: number): InodeForks {
  const isV3 = bytes.readUInt8(inodeAt.version) === 3;
  const literal = bytes.subarray(isV3 ? coreV3 : coreV2);
  const attributesAt = bytes.readUInt8(inodeAt.forkOffset) * 8;
  if (attributesAt >= literal.length) throw damagedInode(number, `its attributes begin at ${attributesAt}`);
  const hasLarge = isV3 && (bytes.readUInt32BE(inodeAt.flags2 + 4) & largeExtentCounts) !== 0;
  const size = Number(bytes.readBigUInt64BE(inodeAt.size));
  const data = fork(
    attributesAt === 0 ? literal : literal.subarray(0, attributesAt),
    bytes.readUInt8(inodeAt.format),
    hasLarge ? Number(bytes.readBigUInt64BE(24)) : bytes.readUInt32BE(76),
    size,
    number,
  );
  const attributeFormat = bytes.readUInt8(inodeAt.attributesFormat);
  const extents = hasLarge ? bytes.readUInt32BE(76) : bytes.readUInt16BE(80);
  return {
    number,
    size,
    isOnRealtimeDevice: (bytes.readUInt16BE(inodeAt.flags) & realtimeFlag) !== 0,
    data,
    attributes:
      attributesAt === 0
        ? undefined
        : fork(literal.subarray(attributesAt), attributeFormat, extents, undefined, number),
  };
}

function fork(area: Buffer, format: number, extents: number, size: number | undefined, number: number): Fork {
  const name = formats[format];
  if (name === undefined) throw damagedInode(number, `a fork of the format ${format}`);
  const length = name === 'local' ? size : name === 'extents' ? extents * extentRecordBytes : undefined;
  if (length !== undefined && length > area.length)
    throw damagedInode(number, `a fork of ${length} bytes has ${area.length} in the inode`);
  // A copy: what it is cut from is a page of a cache.
  return { format: name, bytes: Buffer.from(area.subarray(0, length)), extents };
}
