import { StillError } from '../../errors.js';
import type { Inode } from '../../tree/attributes.js';
import type { Addresses } from './addresses.js';
import { parseInode, type XfsInode } from './inode.js';
import { type InodeForks, parseForks } from './inode-forks.js';
import type { MetadataBlocks } from './metadata-blocks.js';

/** Finds inodes by their numbers, which say where they are. */
export class Inodes {
  readonly #metadata: MetadataBlocks;
  readonly #addresses: Addresses;

  constructor(metadata: MetadataBlocks, addresses: Addresses) {
    this.#metadata = metadata;
    this.#addresses = addresses;
  }

  /** ESTALE: there is no such file. EIO: it is damaged. */
  async read(inode: Inode, signal: AbortSignal): Promise<XfsInode> {
    const { superblock, cache, replayed } = this.#metadata;
    const { inodeSize } = superblock;
    const number = numberOf(inode);
    const offset = this.#addresses.ofInode(number);
    if (offset === undefined || superblock.internalInodes.has(number)) throw stale(inode);
    const bytes = cache.now(offset, inodeSize) ?? (await cache.bytes(offset, inodeSize, signal));
    const unsummed = replayed?.holds(offset, inodeSize) ?? false;
    const found = parseInode(bytes, number, superblock, unsummed);
    if (!found || found.isMetadata) throw stale(inode);
    return found;
  }

  /** The forks of an inode that was read before. */
  async forks(inode: Inode, signal: AbortSignal): Promise<InodeForks> {
    const { superblock, cache } = this.#metadata;
    const number = numberOf(inode);
    const offset = this.#addresses.ofInode(number);
    if (offset === undefined) throw stale(inode);
    const { inodeSize } = superblock;
    const bytes = cache.now(offset, inodeSize) ?? (await cache.bytes(offset, inodeSize, signal));
    return parseForks(bytes, number);
  }
}

function numberOf(inode: Inode): number {
  return inode <= Number.MAX_SAFE_INTEGER ? Number(inode) : Number.NaN;
}

function stale(inode: Inode): StillError {
  return new StillError('ESTALE', `the XFS file system has no inode ${inode}`);
}
