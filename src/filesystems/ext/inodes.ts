import { StillError } from '../../errors.js';
import type { Attributes } from '../../tree/attributes.js';
import type { Blocks } from './blocks.js';
import { GroupDescriptors } from './group-descriptors.js';
import { type ExtInode, isEncryptedSymlink, parseAttributes, parseInode } from './inode.js';
import type { Superblock } from './superblock.js';

/** Finds inodes by their numbers. */
export class Inodes {
  readonly #superblock: Superblock;
  readonly #blocks: Blocks;
  readonly #groups: GroupDescriptors;

  constructor(superblock: Superblock, blocks: Blocks) {
    this.#superblock = superblock;
    this.#blocks = blocks;
    this.#groups = new GroupDescriptors(superblock, blocks);
  }

  /** ESTALE: there is none of that number, or it is free. EIO: it is damaged. */
  async read(number: number, signal: AbortSignal): Promise<ExtInode> {
    return parseInode(this.#superblock, number, await this.bytes(number, signal));
  }

  /** What stat(2) tells of a file, without a wait: undefined where it is not all in memory. Errors as of `read`. */
  attributesNow(number: number): Attributes | undefined {
    const { inodesPerGroup, inodeBytes } = this.#superblock;
    const table = this.#groups.inodeTableNow(Math.floor((number - 1) / inodesPerGroup));
    if (table === undefined) return undefined;
    const bytes = this.#blocks.cache.now(this.#offset(table, number), inodeBytes);
    if (!bytes) return undefined;
    const attributes = parseAttributes(this.#superblock, number, bytes);
    return isEncryptedSymlink(bytes) ? undefined : attributes;
  }

  /** An inode as it is stored, which must not be written to. */
  async bytes(number: number, signal: AbortSignal): Promise<Buffer> {
    const { inodes, inodesPerGroup, inodeBytes } = this.#superblock;
    if (!(number >= 1 && number <= inodes))
      throw new StillError('ESTALE', `the ext file system has no inode ${number}: it has ${inodes}`);
    const group = Math.floor((number - 1) / inodesPerGroup);
    const table = this.#groups.inodeTableNow(group) ?? (await this.#groups.inodeTable(group, signal));
    const offset = this.#offset(table, number);
    const { cache } = this.#blocks;
    return cache.now(offset, inodeBytes) ?? (await cache.bytes(offset, inodeBytes, signal));
  }

  #offset(table: number, number: number): number {
    const { inodesPerGroup, inodeBytes } = this.#superblock;
    return table * this.#blocks.bytes + ((number - 1) % inodesPerGroup) * inodeBytes;
  }
}
