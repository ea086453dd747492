import type { Disk } from '../../disks/disk.js';
import type { Attributes, Inode } from '../../tree/attributes.js';
import type { Capacity } from '../../tree/tree.js';
import { CachedReads } from '../cached-reads.js';
import type { FileNode, FileSystem, FileSystemFacts, FileSystemOptions } from '../file-system.js';
import { MappedContent } from '../mapped-content.js';
import { Addresses } from './addresses.js';
import { fileMap } from './file-map.js';
import { mapOf } from './fork.js';
import { Inodes } from './inodes.js';
import { replayLog } from './log/replay.js';
import { MetadataBlocks, type Replayed } from './metadata-blocks.js';
import { type NodeContext, nodeOf } from './nodes.js';
import { isSuperblock, parseSuperblock, type Superblock } from './superblock.js';

/** What stands for the disk in errors. */
const diskName = 'the disk of the XFS file system';
const largestSector = 32768;

/** Whether the first 64 KiB of a disk, or all of a shorter one, look like XFS. */
export function isXfs(first: Buffer): boolean {
  return isSuperblock(first);
}

/**
 * Opens an XFS file system of version 4 or 5. Closing it closes the disk; where opening fails, the disk stays the caller's.
 * EIO: it is damaged. EOPNOTSUPP: it has features that are not read.
 */
export async function openXfs(disk: Disk, options: FileSystemOptions): Promise<FileSystem> {
  const first = Buffer.alloc(Math.min(largestSector, disk.size));
  await disk.read(0, first, options.signal);
  const superblock = parseSuperblock(first);
  const size = superblock.dataBlocks * superblock.blockSize;
  if (size > disk.size)
    options.problem(
      `The XFS file system has ${size} bytes, its disk only ${disk.size}: what lies behind can't be read.`,
    );
  if (superblock.needsRepair)
    options.problem('The XFS file system is marked as one that xfs_repair must mend: files may be damaged.');
  const replayed = await replayLog(disk, diskName, superblock, options.signal, options.problem);
  if (!replayed) return new Xfs(disk, superblock, undefined);
  await replayed.read(0, first, options.signal);
  return new Xfs(replayed, parseSuperblock(first, true), replayed);
}

class Xfs implements FileSystem {
  readonly facts: FileSystemFacts;
  readonly root: Inode;
  readonly #disk: Disk;
  readonly #superblock: Superblock;
  readonly #context: NodeContext;

  constructor(disk: Disk, superblock: Superblock, replayed: Replayed | undefined) {
    const { uuid, label } = superblock;
    this.facts = { kind: 'xfs', uuid, ...(label !== '' && { label }) };
    this.root = BigInt(superblock.rootInode);
    this.#disk = disk;
    this.#superblock = superblock;
    const addresses = new Addresses(superblock);
    const cache = new CachedReads(disk, diskName);
    const metadata = new MetadataBlocks(superblock, cache, replayed);
    this.#context = {
      metadata,
      inodes: new Inodes(metadata, addresses),
      content: ({ number, data }) => {
        const map = mapOf(metadata, number, data);
        return new MappedContent(disk, cache, fileMap(map, addresses, superblock.blockSize));
      },
    };
  }

  async node(inode: Inode, signal: AbortSignal): Promise<FileNode> {
    return nodeOf(this.#context, await this.#context.inodes.read(inode, signal));
  }

  attributesNow(inode: Inode): Attributes | undefined {
    return this.#context.inodes.now(inode)?.attributes;
  }

  capacity(): Capacity {
    const { dataBlocks, blockSize, freeBlocks, log, usedInodes } = this.#superblock;
    const forLog = log.start === 0 ? 0 : log.blocks;
    return {
      total: (dataBlocks - Math.min(forLog, dataBlocks)) * blockSize,
      free: Math.min(freeBlocks, dataBlocks) * blockSize,
      files: usedInodes,
    };
  }

  async close(): Promise<void> {
    this.#context.metadata.clear();
    await this.#disk.close();
  }
}
