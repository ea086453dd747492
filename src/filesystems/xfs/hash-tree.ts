import { StillError } from '../../errors.js';

// struct xfs_da_intnode and xfs_da3_intnode; leaves begin with the same xfs_da_blkinfo
const nodeMagics = new Set([0xfebe, 0x3ebe]);
const mostLevels = 5;
const entryBytes = 8;

/** Gives a block of a fork by its number there. */
export type ForkBlock = (block: number) => Promise<Buffer>;

/** The layout of `xfs_da` blocks. */
export interface HashTreeLayout {
  /** Where the number of entries stands; the level follows it. */
  readonly countAt: number;
  /** Bytes before the entries of a node. */
  readonly nodeHeader: number;
}

export function layoutOf(version: 4 | 5): HashTreeLayout {
  return version === 5 ? { countAt: 56, nodeHeader: 64 } : { countAt: 12, nodeHeader: 16 };
}

/** The leaf that follows one: 0 where none does. */
export function nextLeaf(leaf: Buffer): number {
  return leaf.readUInt32BE(0);
}

/**
 * Goes down a tree of hashes from its root to the leaf where a hash is, or would be; undefined where all hashes are
 * smaller. EIO: the tree is damaged.
 */
export async function findLeaf(
  root: number,
  hash: number,
  layout: HashTreeLayout,
  block: ForkBlock,
): Promise<Buffer | undefined> {
  let bytes = await block(root);
  let above = mostLevels + 1;
  while (nodeMagics.has(bytes.readUInt16BE(8))) {
    const { countAt, nodeHeader } = layout;
    const count = bytes.readUInt16BE(countAt);
    const level = bytes.readUInt16BE(countAt + 2);
    if (count === 0 || nodeHeader + count * entryBytes > bytes.length || level === 0 || level >= above)
      throw new StillError(
        'EIO',
        `a tree of hashes is damaged: a node has ${count} entries and the level ${level}`,
      );
    above = level;
    let low = 0;
    let high = count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (bytes.readUInt32BE(nodeHeader + middle * entryBytes) < hash) low = middle + 1;
      else high = middle;
    }
    if (low === count) return undefined;
    bytes = await block(bytes.readUInt32BE(nodeHeader + low * entryBytes + 4));
  }
  if (above !== mostLevels + 1 && above !== 1)
    throw new StillError('EIO', `a tree of hashes is damaged: a leaf is below the level ${above}`);
  return bytes;
}
