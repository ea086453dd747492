import type { Disk } from '../../disks/disk.js';
import { StillError } from '../../errors.js';
import type { Attributes, Inode } from '../../tree/attributes.js';
import type { Capacity } from '../../tree/tree.js';
import { CachedReads } from '../cached-reads.js';
import type { FileNode, FileSystem, FileSystemFacts, FileSystemOptions } from '../file-system.js';
import { Blocks } from './blocks.js';
import { FileNodes } from './file-nodes.js';
import { Inodes } from './inodes.js';
import { recovered } from './journal/recovery.js';
import {
  hasExtSuperblock,
  parseSuperblock,
  rootInode,
  type Superblock,
  superblockBytes,
  superblockOffset,
} from './superblock.js';

const name = 'the ext file system';

/** Whether the first 64 KiB of a disk look like an ext2, ext3 or ext4 file system. */
export function isExt(first: Buffer): boolean {
  return hasExtSuperblock(first);
}

/**
 * Opens an ext2, ext3 or ext4 file system. It closes the disk; where opening fails, that stays the caller's. EIO: it is
 * damaged, or none. EOPNOTSUPP: it has features that are not read.
 */
export async function openExt(disk: Disk, options: FileSystemOptions): Promise<FileSystem> {
  const { signal, problem } = options;
  const found = await superblockOf(disk, signal);
  const clean = found.features.needsRecovery ? await recovered(disk, found, options) : disk;
  const superblock = clean === disk ? found : await superblockOf(clean, signal);
  tellOf(superblock, clean, problem);
  const cache = new CachedReads(clean, name);
  const fileSystem = new Ext(
    superblock,
    new Blocks(clean, cache, superblock.blockBytes, superblock.blocks),
    problem,
  );
  const root = await fileSystem.node(fileSystem.root, signal);
  if (root.type !== 'directory') throw new StillError('EIO', `the root of ${name} is a ${root.type}`);
  return fileSystem;
}

async function superblockOf(disk: Disk, signal: AbortSignal): Promise<Superblock> {
  if (disk.size < superblockOffset + superblockBytes)
    throw new StillError('EIO', `no ext file system: ${disk.size} bytes are too few for its superblock`);
  const bytes = Buffer.alloc(superblockBytes);
  await disk.read(superblockOffset, bytes, signal);
  return parseSuperblock(bytes);
}

function tellOf(superblock: Superblock, disk: Disk, problem: (sentence: string) => void): void {
  const { intact, hasErrors, blocks, blockBytes, lastOrphan } = superblock;
  if (!intact)
    problem(`The checksum of the superblock of ${name} is wrong: what it tells may be wrong, too.`);
  if (blocks * blockBytes > disk.size)
    problem(
      `${name} is cut short: it is said to have ${blocks * blockBytes} bytes, and its disk has ${disk.size}.`,
    );
  if (hasErrors) problem(`${name} is marked as damaged by the system that used it: have e2fsck look at it.`);
  if (lastOrphan !== 0)
    problem(
      `${name} has orphans: files that were deleted or cut short while they were in use, and not yet given back.`,
    );
}

class Ext implements FileSystem {
  readonly facts: FileSystemFacts;
  readonly root: Inode = BigInt(rootInode);
  readonly #superblock: Superblock;
  readonly #blocks: Blocks;
  readonly #inodes: Inodes;
  readonly #nodes: FileNodes;

  constructor(superblock: Superblock, blocks: Blocks, problem: (sentence: string) => void) {
    this.#superblock = superblock;
    this.#blocks = blocks;
    this.#inodes = new Inodes(superblock, blocks);
    this.#nodes = new FileNodes(superblock, blocks, this.#inodes, problem);
    const { kind, uuid, label } = superblock;
    const hasUuid = uuid.some((byte) => byte !== 0);
    this.facts = { kind, ...(hasUuid && { uuid: textOf(uuid) }), ...(label !== '' && { label }) };
  }

  async node(inode: Inode, signal: AbortSignal): Promise<FileNode> {
    return this.#nodes.node(this.#number(inode), signal);
  }

  attributesNow(inode: Inode): Attributes | undefined {
    return this.#inodes.attributesNow(this.#number(inode));
  }

  #number(inode: Inode): number {
    const number = Number(inode);
    const { firstInode, inodes } = this.#superblock;
    const isFile = number === rootInode || (number >= firstInode && number <= inodes);
    if (!isFile) throw new StillError('ESTALE', `inode ${inode} of ${name} can be no file's`);
    return number;
  }

  capacity(): Capacity {
    const { blocks, overheadBlocks, freeBlocks, blockBytes, inodes } = this.#superblock;
    const total = Math.max(blocks - overheadBlocks, 0);
    return { total: total * blockBytes, free: Math.min(freeBlocks, total) * blockBytes, files: inodes };
  }

  async close(): Promise<void> {
    this.#blocks.cache.clear();
    await this.#blocks.disk.close();
  }
}

/** As blkid(8) writes it. */
function textOf(uuid: Buffer): string {
  return uuid.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
