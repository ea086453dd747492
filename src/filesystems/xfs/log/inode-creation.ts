import { StillError } from '../../../errors.js';
import type { Addresses } from '../addresses.js';
import { inodeAt, inodeMagic } from '../inode.js';
import type { Superblock } from '../superblock.js';
import type { LogItem } from './transactions.js';

/** struct xfs_icreate_log, big-endian but for its first word. */
const itemBytes = 28;
const noInode = 0xffff_ffff;
/** XFS_INODES_PER_CHUNK, and those of a block where it holds more. */
const mostInodes = 256;

/** Blocks that were made inodes, all of them free. */
export interface InodeCreation {
  /** Bytes. */
  readonly offset: number;
  readonly bytes: Buffer;
}

/** EIO: it is damaged. */
export function parseInodeCreation(
  { regions }: LogItem,
  superblock: Superblock,
  addresses: Addresses,
): InodeCreation {
  const [item] = regions;
  const { inodeSize, blockSize, metaUuid, version } = superblock;
  if (!item || item.length < itemBytes) throw damaged('it is too short');
  const [group, inGroup, count, size, blocks, generation] = [4, 8, 12, 16, 20, 24].map((at) =>
    item.readUInt32BE(at),
  );
  const fits = count !== undefined && blocks !== undefined && count * inodeSize === blocks * blockSize;
  if (group === undefined || inGroup === undefined || generation === undefined || !fits || size !== inodeSize)
    throw damaged('its inodes do not fit into its blocks');
  if (count === 0 || count > Math.max(mostInodes, blockSize / inodeSize))
    throw damaged(`it is of ${count} inodes`);
  const offset = addresses.ofGroupBlocks(group, inGroup, blocks);
  const first = addresses.firstInode(group, inGroup);
  const bytes = Buffer.alloc(count * inodeSize);
  for (let index = 0; index < count; index++) {
    const inode = bytes.subarray(index * inodeSize, (index + 1) * inodeSize);
    inode.writeUInt16BE(inodeMagic, 0);
    inode.writeUInt8(version === 5 ? 3 : 2, inodeAt.version);
    inode.writeUInt32BE(generation, 92);
    inode.writeUInt32BE(noInode, 96);
    if (version !== 5) continue;
    inode.writeBigUInt64BE(BigInt(first + index), inodeAt.number);
    metaUuid.copy(inode, inodeAt.uuid);
  }
  return { offset, bytes };
}

function damaged(how: string): StillError {
  return new StillError('EIO', `the log of the XFS file system has a damaged creation of inodes: ${how}`);
}
