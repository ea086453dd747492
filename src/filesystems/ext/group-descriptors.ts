import { LRUCache } from 'lru-cache';
import { StillError } from '../../errors.js';
import { crc32c } from '../crc32c.js';
import type { Blocks } from './blocks.js';
import { crc16 } from './crc16.js';
import { hasSuperblockCopy, type Superblock } from './superblock.js';

// linux fs/ext4/ext4.h: struct ext4_group_desc
const inodeTableLow = 0x08;
const checksumAt = 0x1e;
const oldBytes = 0x20;
const inodeTableHigh = 0x28;
const remembered = 1024;

/** Where the table of inodes of each group of blocks is. */
export class GroupDescriptors {
  readonly #superblock: Superblock;
  readonly #blocks: Blocks;
  readonly #inodeTables = new LRUCache<number, number>({ max: remembered });

  constructor(superblock: Superblock, blocks: Blocks) {
    this.#superblock = superblock;
    this.#blocks = blocks;
  }

  /** The first block of a group's table, without a wait; undefined where it is not in memory. */
  inodeTableNow(group: number): number | undefined {
    return this.#inodeTables.get(group);
  }

  /** The first block of a group's table. EIO: its descriptor is damaged. */
  async inodeTable(group: number, signal: AbortSignal): Promise<number> {
    const known = this.#inodeTables.get(group);
    if (known !== undefined) return known;
    const { descriptorBytes, blockBytes, features, inodesPerGroup, inodeBytes } = this.#superblock;
    const perBlock = blockBytes / descriptorBytes;
    const block = await this.#blocks.read(this.#place(Math.floor(group / perBlock), perBlock), signal);
    const at = (group % perBlock) * descriptorBytes;
    const descriptor = block.subarray(at, at + descriptorBytes);
    if (!this.#isIntact(group, descriptor)) throw damaged(group, 'its checksum is wrong');
    const high = features.is64bit ? descriptor.readUInt32LE(inodeTableHigh) : 0;
    const table = descriptor.readUInt32LE(inodeTableLow) + high * 2 ** 32;
    if (!this.#blocks.hold(table, Math.ceil((inodesPerGroup * inodeBytes) / blockBytes)))
      throw damaged(group, `its table of inodes is said to begin at block ${table}`);
    this.#inodeTables.set(group, table);
    return table;
  }

  /** Where a block of descriptors is (descriptor_loc of fs/ext4/super.c): with meta_bg in the groups that it describes. */
  #place(index: number, perBlock: number): number {
    const { blockBytes, features, firstMetaGroup, firstDataBlock, blocksPerGroup } = this.#superblock;
    const ofSuperblock = blockBytes === 1024 ? 1 : 0;
    if (!features.metaGroups || index < firstMetaGroup) return ofSuperblock + 1 + index;
    const group = index * perBlock;
    const copies = hasSuperblockCopy(this.#superblock, group) ? 1 : 0;
    const bootBlock = blockBytes === 1024 && index === 0 && firstDataBlock === 0 ? 1 : 0;
    return firstDataBlock + group * blocksPerGroup + copies + bootBlock;
  }

  #isIntact(group: number, descriptor: Buffer): boolean {
    const { checksumSeed, features, uuid } = this.#superblock;
    const stored = descriptor.readUInt16LE(checksumAt);
    const number = Buffer.alloc(4);
    number.writeUInt32LE(group);
    const before = descriptor.subarray(0, checksumAt);
    const after = descriptor.subarray(checksumAt + 2);
    if (checksumSeed !== undefined) {
      const begun = crc32c(crc32c(checksumSeed, number), before);
      return (crc32c(crc32c(begun, Buffer.alloc(2)), after) & 0xffff) === stored;
    }
    if (!features.groupChecksums) return true;
    const begun = crc16(crc16(crc16(0xffff, uuid), number), before);
    return (descriptor.length > oldBytes ? crc16(begun, after) : begun) === stored;
  }
}

function damaged(group: number, how: string): StillError {
  return new StillError('EIO', `group ${group} of the ext file system is damaged: ${how}`);
}
