import { StillError } from '../../../errors.js';
import { basicBlock } from '../addresses.js';
import { bigTime, coreV2, coreV3, inodeAt, inodeMagic, isMetadata, largeExtentCounts } from '../inode.js';
import type { LogItem } from './transactions.js';

// struct xfs_inode_log_format; 32-bit machines have no padding before the number of the inode
const formatBytes = 56;
const packedFormatBytes = 52;
const field = {
  localData: 0x002,
  dataExtents: 0x004,
  dataRoot: 0x008,
  device: 0x010,
  localAttributes: 0x040,
  attributeExtents: 0x080,
  attributeRoot: 0x100,
  dataOwner: 0x200,
  attributeOwner: 0x400,
} as const;
const dataFields = field.localData | field.dataExtents | field.dataRoot;
const attributeFields = field.localAttributes | field.attributeExtents | field.attributeRoot;
const literalLimit = 2048;

/** A change of an inode. */
export interface InodeItem {
  readonly inode: number;
  /** The buffer that it is in, and where in it: bytes. */
  readonly buffer: { readonly offset: number; readonly length: number };
  readonly at: number;
  /** Its core as machines have it in memory: the fields of the disk's, in the order of the machine's bytes. */
  readonly core: Buffer;
  readonly device: number | undefined;
  readonly data: LoggedFork | undefined;
  readonly attributes: LoggedFork | undefined;
  /** Blocks of its extent trees were another inode's before. */
  readonly changesOwners: boolean;
}

interface LoggedFork {
  readonly isRoot: boolean;
  readonly bytes: Buffer;
}

/** EIO: it is damaged. */
export function parseInodeItem({ regions }: LogItem): InodeItem {
  const [format, core, ...forks] = regions;
  if (!format || !core || (format.length !== formatBytes && format.length !== packedFormatBytes))
    throw damaged('it has no format');
  const fields = format.readUInt32LE(4);
  const from = format.length === formatBytes ? 16 : 12;
  const place = Number(format.readBigInt64LE(from + 24));
  const length = format.readInt32LE(from + 32) * basicBlock;
  const at = format.readInt32LE(from + 36);
  if (place < 0 || length <= 0 || at < 0 || at >= length) throw damaged(`it lies at ${place}, ${at}`);
  if (core.length < coreV2 - 4 || core.readUInt16LE(0) !== inodeMagic) throw damaged('its core is none');
  const hasData = (fields & dataFields) !== 0;
  const fork = (bits: number, root: number, bytes: Buffer | undefined): LoggedFork | undefined => {
    if ((fields & bits) === 0) return undefined;
    if (!bytes || bytes.length > literalLimit) throw damaged('a fork is missing');
    return { isRoot: (fields & root) !== 0, bytes };
  };
  return {
    inode: Number(format.readBigUInt64LE(from)),
    buffer: { offset: place * basicBlock, length },
    at,
    core,
    device: (fields & field.device) !== 0 ? format.readUInt32LE(from + 8) : undefined,
    data: fork(dataFields, field.dataRoot, forks[0]),
    attributes: fork(attributeFields, field.attributeRoot, forks[hasData ? 1 : 0]),
    changesOwners: (fields & (field.dataOwner | field.attributeOwner)) !== 0,
  };
}

/** Whether an inode on the disk is newer than what the log has of it. */
export function isNewer(onDisk: Buffer, core: Buffer, sequence: bigint): boolean {
  if (onDisk.readUInt8(inodeAt.version) >= 3) {
    const written = onDisk.readBigInt64BE(inodeAt.sequence);
    return written !== 0n && written !== -1n && written > sequence;
  }
  // How often it was flushed; the count wraps.
  const flushed = onDisk.readUInt16BE(30);
  const logged = core.readUInt16LE(30);
  return logged < flushed && !(flushed === 0xffff && logged < 0x7fff);
}

/** Makes the change in the bytes that the inode has on the disk. EIO: it does not fit into it. */
export function applyInodeItem(inode: Buffer, item: InodeItem, sequence: bigint): void {
  const { core } = item;
  const isV3 = core.readUInt8(inodeAt.version) === 3;
  if (isV3 && core.length < coreV3) throw damaged('its core is too short');
  const flags2 = isV3 ? core.readUInt32LE(inodeAt.flags2) : 0;
  swapFields(inode, core, flags2);
  if (isV3) swapExtension(inode, core, sequence, flags2);
  else inode.writeUInt16BE(0, 30);
  const literal = inode.subarray(isV3 ? coreV3 : coreV2);
  const attributesAt = inode.readUInt8(82) * 8;
  if (attributesAt >= literal.length) throw damaged(`its attributes begin at ${attributesAt}`);
  const data = attributesAt === 0 ? literal : literal.subarray(0, attributesAt);
  if (item.device !== undefined) data.writeUInt32BE(item.device, 0);
  if (item.data) putFork(data, item.data, isV3);
  if (item.attributes) putFork(literal.subarray(attributesAt), item.attributes, isV3);
}

function swapFields(inode: Buffer, core: Buffer, flags2: number): void {
  let at = 0;
  const swap = (width: number): void => {
    for (let byte = 0; byte < width; byte++) inode[at + byte] = core[at + width - 1 - byte] ?? 0;
    at += width;
  };
  // Up to the project's id; six bytes of padding and the count of flushes, or the count of extents; the times; the rest.
  for (const width of [2, 2, 1, 1, 2, 4, 4, 4, 2, 2]) swap(width);
  if ((flags2 & isMetadata) === 0) inode.writeUInt16BE(0, 6);
  const hasLarge = (flags2 & largeExtentCounts) !== 0;
  for (const width of hasLarge ? [8] : [1, 1, 1, 1, 1, 1, 2]) swap(width);
  const time = (flags2 & bigTime) !== 0 ? [8] : [4, 4];
  for (const width of [...time, ...time, ...time]) swap(width);
  for (const width of [8, 8, 4, 4, 2, 1, 1, 4, 2, 2, 4]) swap(width);
}

function swapExtension(inode: Buffer, core: Buffer, sequence: bigint, flags2: number): void {
  const swap = (at: number, width: number): void => {
    for (let byte = 0; byte < width; byte++) inode[at + byte] = core[at + width - 1 - byte] ?? 0;
  };
  swap(inodeAt.changeCount, 8);
  inode.writeBigInt64BE(sequence, inodeAt.sequence);
  swap(inodeAt.flags2, 8);
  swap(128, 4);
  inode.fill(0, 132, 144);
  if ((flags2 & bigTime) !== 0) swap(144, 8);
  else {
    swap(144, 4);
    swap(148, 4);
  }
  swap(inodeAt.number, 8);
  core.copy(inode, inodeAt.uuid, inodeAt.uuid, inodeAt.uuid + 16);
}

function putFork(area: Buffer, { isRoot, bytes }: LoggedFork, isV3: boolean): void {
  if (isRoot) putRoot(area, bytes, isV3 ? 72 : 24);
  else if (bytes.length <= area.length) bytes.copy(area);
  else throw damaged(`${bytes.length} bytes of a fork in ${area.length}`);
}

/** The root of an extent tree is logged as a block has it, and is shorter in an inode: xfs_bmbt_to_bmdr. */
function putRoot(area: Buffer, block: Buffer, header: number): void {
  const logged = Math.floor((block.length - header) / 16);
  const most = Math.floor((area.length - 4) / 16);
  const count = block.length >= header ? block.readUInt16BE(6) : 0;
  if (count === 0 || count > logged || count > most) throw damaged(`a root of ${count} entries`);
  area.writeUInt16BE(block.readUInt16BE(4), 0);
  area.writeUInt16BE(count, 2);
  block.copy(area, 4, header, header + count * 8);
  block.copy(area, 4 + most * 8, header + logged * 8, header + (logged + count) * 8);
}

function damaged(how: string): StillError {
  return new StillError('EIO', `the log of the XFS file system has a damaged inode: ${how}`);
}
