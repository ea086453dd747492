import { StillError } from '../../errors.js';
import { Addresses } from './addresses.js';
import { type ExtentRun, extentRecordBytes, extentsIn, type ForkMap } from './extent-records.js';
import { blockKinds, type MetadataBlocks } from './metadata-blocks.js';

/** Bytes before the records of a block: struct xfs_btree_block with long pointers. */
const headerV4 = 24;
const headerV5 = 72;
const rootHeader = 4;
const keyBytes = 8;
const pointerBytes = 8;
/** XFS_BM_MAXLEVELS is at most 9 for what fits into 2^48 extents. */
const mostLevels = 9;

/** A node of the tree: the root in the inode, or a block. */
interface Node {
  readonly bytes: Buffer;
  readonly level: number;
  readonly count: number;
  readonly keysAt: number;
  readonly pointersAt: number;
}

/** The map of a fork whose extents are in a B+tree (`bmbt`), the root of which is in its inode. */
export class ExtentTree implements ForkMap {
  readonly #metadata: MetadataBlocks;
  readonly #addresses: Addresses;
  readonly #inode: number;
  readonly #root: Node;

  /** `fork`: all bytes that the inode has for the fork. EIO: the root is damaged. */
  constructor(metadata: MetadataBlocks, inode: number, fork: Buffer) {
    this.#metadata = metadata;
    this.#addresses = new Addresses(metadata.superblock);
    this.#inode = inode;
    const most = Math.floor((fork.length - rootHeader) / (keyBytes + pointerBytes));
    const level = fork.length >= rootHeader ? fork.readUInt16BE(0) : 0;
    const count = fork.length >= rootHeader ? fork.readUInt16BE(2) : 0;
    if (level === 0 || level >= mostLevels || count === 0 || count > most)
      throw this.#damaged(`its root has ${count} entries and the level ${level}`);
    this.#root = {
      bytes: fork,
      level,
      count,
      keysAt: rootHeader,
      pointersAt: rootHeader + most * keyBytes,
    };
  }

  async run(first: number, end: number, signal: AbortSignal): Promise<ExtentRun> {
    let until = Number.POSITIVE_INFINITY;
    for (let node = this.#root; ; ) {
      const child = this.#child(node, first);
      until = Math.min(until, child.until);
      const place = { offset: child.offset, length: this.#metadata.superblock.blockSize };
      const bytes = await this.#metadata.block([place], blockKinds.mapping, this.#inode, signal);
      const below = this.#node(bytes, node.level - 1);
      if (below.level === 0) return this.#leaf(below, first, end, until);
      node = below;
    }
  }

  runNow(first: number, end: number): ExtentRun | undefined {
    let until = Number.POSITIVE_INFINITY;
    for (let node = this.#root; ; ) {
      const child = this.#child(node, first);
      until = Math.min(until, child.until);
      const bytes = this.#metadata.now(child.offset, blockKinds.mapping, this.#inode);
      if (!bytes) return undefined;
      const below = this.#node(bytes, node.level - 1);
      if (below.level === 0) return this.#leaf(below, first, end, until);
      node = below;
    }
  }

  /** What is below a node for a block of the fork, and where the next one of its entries begins. */
  #child(node: Node, first: number): { readonly offset: number; readonly until: number } {
    const { bytes, count, keysAt, pointersAt } = node;
    let low = 0;
    let high = count;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (numberAt(bytes, keysAt + middle * keyBytes) <= first) low = middle;
      else high = middle;
    }
    const next = low + 1;
    const until = next < count ? numberAt(bytes, keysAt + next * keyBytes) : Number.POSITIVE_INFINITY;
    if (until <= first) throw this.#damaged('its keys are in disorder');
    const block = numberAt(bytes, pointersAt + low * pointerBytes);
    return { offset: this.#addresses.ofBlocks(block, 1), until };
  }

  #node(bytes: Buffer, level: number): Node {
    const { version, blockSize } = this.#metadata.superblock;
    const header = version === 5 ? headerV5 : headerV4;
    // Keys and pointers together are as long as a record.
    const most = Math.floor((blockSize - header) / extentRecordBytes);
    const count = bytes.readUInt16BE(6);
    if (bytes.readUInt16BE(4) !== level) throw this.#damaged(`a block has not the level ${level}`);
    if (count === 0 || count > most) throw this.#damaged(`a block has ${count} entries`);
    return { bytes, level, count, keysAt: header, pointersAt: header + most * keyBytes };
  }

  #leaf({ bytes, count, keysAt }: Node, first: number, end: number, until: number): ExtentRun {
    return extentsIn(bytes.subarray(keysAt), count, first, end, until);
  }

  #damaged(how: string): StillError {
    return new StillError('EIO', `the extent tree of inode ${this.#inode} is damaged: ${how}`);
  }
}

function numberAt(bytes: Buffer, at: number): number {
  return bytes.readUInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4);
}
