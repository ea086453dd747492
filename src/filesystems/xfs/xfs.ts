import type { Disk } from '../../disks/disk.js';
import { StillError } from '../../errors.js';
import type { Attributes, Inode } from '../../tree/attributes.js';
import type { Capacity } from '../../tree/tree.js';
import { CachedReads } from '../cached-reads.js';
import type {
  FileContent,
  FileNode,
  FileSystem,
  FileSystemFacts,
  FileSystemOptions,
  Folder,
} from '../file-system.js';
import { MappedContent } from '../mapped-content.js';
import { Addresses } from './addresses.js';
import { readAttributes } from './extended-attributes.js';
import { fileMap } from './file-map.js';
import { entriesOf, type FolderEntries } from './folder.js';
import { mapOf } from './fork.js';
import { deviceOf, parseInode, type XfsInode } from './inode.js';
import { replayLog } from './log/replay.js';
import { MetadataBlocks, type Replayed } from './metadata-blocks.js';
import { isSuperblock, parseSuperblock, type Superblock } from './superblock.js';
import { readTarget } from './symlink.js';

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
  const replay = await replayLog(disk, diskName, superblock, options.signal, options.problem);
  if (!replay.disk) return new Xfs(disk, superblock, undefined);
  await replay.disk.read(0, first, options.signal);
  return new Xfs(replay.disk, parseSuperblock(first, true), replay.disk);
}

class Xfs implements FileSystem {
  readonly facts: FileSystemFacts;
  readonly root: Inode;
  readonly #disk: Disk;
  readonly #superblock: Superblock;
  readonly #addresses: Addresses;
  readonly #cache: CachedReads;
  readonly #metadata: MetadataBlocks;

  constructor(disk: Disk, superblock: Superblock, replayed: Replayed | undefined) {
    const { uuid, label } = superblock;
    this.facts = { kind: 'xfs', uuid, ...(label !== '' && { label }) };
    this.root = BigInt(superblock.rootInode);
    this.#disk = disk;
    this.#superblock = superblock;
    this.#addresses = new Addresses(superblock);
    this.#cache = new CachedReads(disk, diskName);
    this.#metadata = new MetadataBlocks(superblock, this.#cache, replayed);
  }

  async node(inode: Inode, signal: AbortSignal): Promise<FileNode> {
    const number = inode <= Number.MAX_SAFE_INTEGER ? Number(inode) : Number.NaN;
    const { inodeSize, internalInodes } = this.#superblock;
    const offset = this.#addresses.ofInode(number);
    if (offset === undefined || internalInodes.has(number)) throw stale(inode);
    const bytes = this.#cache.now(offset, inodeSize) ?? (await this.#cache.bytes(offset, inodeSize, signal));
    const unsummed = this.#metadata.replayed?.holds(offset, inodeSize) ?? false;
    const parsed = parseInode(bytes, number, this.#superblock, unsummed);
    if (!parsed || parsed.isMetadata) throw stale(inode);
    return this.#nodeOf(parsed, inode);
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
    this.#metadata.clear();
    await this.#disk.close();
  }

  #nodeOf(inode: XfsInode, number: Inode): FileNode {
    const { attributes: fork, type } = inode;
    const file = {
      attributes: this.#shown(inode, number),
      ...(fork && {
        xattrs: (signal: AbortSignal) => readAttributes(this.#metadata, inode.number, fork, signal),
      }),
    };
    switch (type) {
      case 'file':
        return { ...file, type, content: async () => this.#content(inode) };
      case 'directory':
        return new XfsFolder(file, this.#metadata, inode);
      case 'symlink':
        return { ...file, type, target: (signal) => readTarget(this.#metadata, inode, signal) };
      default:
        return { ...file, type };
    }
  }

  #shown(inode: XfsInode, number: Inode): Attributes {
    const { type, permissions, links, uid, gid, accessed, modified, changed } = inode;
    const isDevice = type === 'block' || type === 'character';
    return {
      inode: number,
      type,
      permissions,
      links,
      uid,
      gid,
      ...(isDevice && { device: deviceOf(inode) }),
      size: inode.size,
      allocated: Math.min(inode.blocks * this.#superblock.blockSize, Number.MAX_SAFE_INTEGER),
      accessed,
      modified,
      changed,
      freshSeconds: Number.POSITIVE_INFINITY,
    };
  }

  #content(inode: XfsInode): FileContent {
    if (inode.isOnRealtimeDevice)
      throw new StillError(
        'EIO',
        `the bytes of inode ${inode.number} are on the realtime device, which is not read`,
      );
    const map = mapOf(this.#metadata, inode.number, inode.data);
    return new MappedContent(
      this.#disk,
      this.#cache,
      fileMap(map, this.#addresses, this.#superblock.blockSize),
    );
  }
}

/** A folder; what it holds is taken apart when it is asked for. */
class XfsFolder implements Folder {
  readonly type = 'directory';
  readonly attributes: Attributes;
  readonly xattrs?: NonNullable<Folder['xattrs']>;
  readonly #metadata: MetadataBlocks;
  readonly #inode: XfsInode;
  #entries: FolderEntries | undefined;

  constructor(file: Pick<Folder, 'attributes' | 'xattrs'>, metadata: MetadataBlocks, inode: XfsInode) {
    this.attributes = file.attributes;
    if (file.xattrs) this.xattrs = file.xattrs;
    this.#metadata = metadata;
    this.#inode = inode;
  }

  async find(...asked: Parameters<Folder['find']>): ReturnType<Folder['find']> {
    return this.#opened().find(...asked);
  }

  async entries(...asked: Parameters<Folder['entries']>): ReturnType<Folder['entries']> {
    return this.#opened().entries(...asked);
  }

  async parent(signal: AbortSignal): Promise<Inode> {
    return this.#opened().parent(signal);
  }

  #opened(): FolderEntries {
    this.#entries ??= entriesOf(this.#metadata, this.#inode);
    return this.#entries;
  }
}

function stale(inode: Inode): StillError {
  return new StillError('ESTALE', `the XFS file system has no inode ${inode}`);
}
