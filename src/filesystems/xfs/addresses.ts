import { StillError } from '../../errors.js';
import type { Superblock } from './superblock.js';

/** Linux's XFS tells where something is in these units, whatever the disk's sectors are. */
export const basicBlock = 512;

/**
 * Where blocks and inodes are on the disk. A block's number holds that of its allocation group in the upper bits, an
 * inode's that of its block: groups are not powers of two long, so the numbers have gaps.
 */
export class Addresses {
  readonly #superblock: Superblock;
  readonly #groupFactor: number;
  readonly #inodeFactor: number;

  constructor(superblock: Superblock) {
    this.#superblock = superblock;
    this.#groupFactor = 2 ** superblock.groupBlockBits;
    this.#inodeFactor = 2 ** superblock.inodesPerBlockBits;
  }

  /** The offset of a run of blocks, which must lie in one allocation group. EIO: it does not. */
  ofBlocks(block: number, count: number): number {
    const { groupBlocks, dataBlocks, blockSize } = this.#superblock;
    const group = Math.floor(block / this.#groupFactor);
    const inGroup = block - group * this.#groupFactor;
    const linear = group * groupBlocks + inGroup;
    if (inGroup + count <= groupBlocks && linear + count <= dataBlocks) return linear * blockSize;
    throw new StillError('EIO', `the XFS file system has no ${count} blocks at its block ${block}`);
  }

  /** The offset of an inode. Undefined: none can have that number. */
  ofInode(inode: number): number | undefined {
    const { groupBlocks, dataBlocks, blockSize, inodeSize } = this.#superblock;
    const block = Math.floor(inode / this.#inodeFactor);
    const group = Math.floor(block / this.#groupFactor);
    const inGroup = block - group * this.#groupFactor;
    const linear = group * groupBlocks + inGroup;
    if (!(inGroup < groupBlocks && linear < dataBlocks)) return undefined;
    return linear * blockSize + (inode - block * this.#inodeFactor) * inodeSize;
  }

  /** The number of the first inode of a block, told by its allocation group and its number there. */
  firstInode(group: number, inGroup: number): number {
    return (group * this.#groupFactor + inGroup) * this.#inodeFactor;
  }

  /** The offset of a run of blocks of an allocation group. EIO: it has none such. */
  ofGroupBlocks(group: number, inGroup: number, count: number): number {
    return this.ofBlocks(group * this.#groupFactor + inGroup, count);
  }
}
