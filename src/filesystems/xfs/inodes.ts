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
    const offset = this.#offset(inode);
    return this.#parsed(inode, offset, await this.#bytes(offset, signal));
  }

  /** As `read`, without a wait: undefined where the inode is not in memory. */
  now(inode: Inode): XfsInode | undefined {
    const { cache, superblock } = this.#metadata;
    const offset = this.#offset(inode);
    const bytes = cache.now(offset, superblock.inodeSize);
    return bytes && this.#parsed(inode, offset, bytes);
  }

  /** The forks of an inode that was read before. */
  async forks(inode: Inode, signal: AbortSignal): Promise<InodeForks> {
    return parseForks(await this.#bytes(this.#offset(inode), signal), numberOf(inode));
  }

  async #bytes(offset: number, signal: AbortSignal): Promise<Buffer> {
    const { cache, superblock } = this.#metadata;
    const { inodeSize } = superblock;
    return cache.now(offset, inodeSize) ?? (await cache.bytes(offset, inodeSize, signal));
  }

  #offset(inode: Inode): number {
    const number = numberOf(inode);
    const offset = this.#addresses.ofInode(number);
    if (offset === undefined || this.#metadata.superblock.internalInodes.has(number)) throw stale(inode);
    return offset;
  }

  #parsed(inode: Inode, offset: number, bytes: Buffer): XfsInode {
    const { superblock, replayed } = this.#metadata;
    const unsummed = replayed?.holds(offset, superblock.inodeSize) ?? false;
    const found = parseInode(bytes, numberOf(inode), superblock, unsummed);
    if (!found || found.isMetadata) throw stale(inode);
    return found;
  }
}

function numberOf(inode: Inode): number {
  return inode <= Number.MAX_SAFE_INTEGER ? Number(inode) : Number.NaN;
}

function stale(inode: Inode): StillError {
  return new StillError('ESTALE', `the XFS file system has no inode ${inode}`);
}
