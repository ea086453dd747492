import { LRUCache } from 'lru-cache';
import type { Disk } from '../../disks/disk.js';
import { isAbort, messageOf, StillError } from '../../errors.js';
import { isEntryName, type Name, nameToText } from '../../name.js';
import { Problems } from '../../problems.js';
import type { Attributes, Inode } from '../../tree/attributes.js';
import type { Access, Capacity, Entry, Found, Opened, Tree } from '../../tree/tree.js';
import { DataBlocks } from './data-blocks.js';
import { decompressorOf } from './decompressor.js';
import { Directories, DirectoryIndex, type DirectoryRow, type DirectoryScan } from './directory.js';
import { ExtendedAttributes } from './extended-attributes.js';
import { IndexedTable, readIds } from './indexed-table.js';
import { type DirectoryInode, Inodes, type SquashfsInode } from './inode.js';
import { Metadata } from './metadata.js';
import { OpenFiles } from './open-files.js';
import { parseSuperblock, type Superblock, superblockBytes } from './superblock.js';

export interface SquashfsOptions {
  readonly signal: AbortSignal;
  /** Called with each sentence about what is wrong with the image; some come only as more of it is read. */
  readonly problem: (sentence: string) => void;
}

/**
 * Opens a squashfs 4.0 image: what it is made of is read when it is needed. The tree closes the image; where opening
 * fails, it stays the caller's. EIO: it is damaged, cut short, or none. EOPNOTSUPP: of a kind that is not read.
 */
export async function openSquashfs(image: Disk, { signal, problem }: SquashfsOptions): Promise<Tree> {
  const first = Buffer.alloc(Math.min(superblockBytes, image.size));
  await image.read(0, first, signal);
  const superblock = parseSuperblock(first, image.size);
  const metadata = new Metadata(image, superblock.bytesUsed, decompressorOf(superblock.compressor));
  try {
    return await openTables(image, superblock, metadata, new Problems(problem), signal);
  } catch (error) {
    metadata.clear();
    throw error;
  }
}

async function openTables(
  image: Disk,
  superblock: Superblock,
  metadata: Metadata,
  problems: Problems,
  signal: AbortSignal,
): Promise<Tree> {
  if (superblock.compressor === 'lz4' && superblock.hasCompressorOptions) {
    const { bytes } = await metadata.block(superblockBytes, signal);
    const version = bytes.length >= 4 ? bytes.readUInt32LE(0) : 0;
    if (version !== 1)
      throw new StillError('EOPNOTSUPP', `a squashfs image of the unknown LZ4 format ${version}`);
  }
  const ids = await readIds(metadata, superblock.idTable, superblock.ids, signal);
  let xattrs: ExtendedAttributes | undefined;
  if (superblock.xattrTable !== undefined) {
    try {
      xattrs = await ExtendedAttributes.open(metadata, superblock.xattrTable, signal);
    } catch (error) {
      if (isAbort(error)) throw error;
      problems.add(`No extended attributes can be read: ${messageOf(error)}`);
    }
  }
  const tree = new Squashfs(image, superblock, metadata, ids, xattrs, problems);
  const root = await tree.attributes(tree.root, signal);
  if (root.type !== 'directory')
    throw new StillError('EIO', `the root of the squashfs image is a ${root.type}`);
  return tree;
}

const lasting = Number.POSITIVE_INFINITY;
const parentName = '..' as Name;
const rootInode = 1;
const listed = 256;
const mostScans = 64;
const mostFolders = 65536;
const mostIndexBytes = 4 << 20;

class Squashfs implements Tree {
  readonly root: Inode = BigInt(rootInode);
  readonly #image: Disk;
  readonly #superblock: Superblock;
  readonly #metadata: Metadata;
  readonly #data: DataBlocks;
  readonly #ids: Uint32Array;
  readonly #xattrs: ExtendedAttributes | undefined;
  readonly #problems: Problems;
  readonly #inodes: Inodes;
  readonly #directories: Directories;
  readonly #files: OpenFiles;
  readonly #exports: IndexedTable | undefined;
  /** The folders that each folder was found in: it can stand in one only. */
  readonly #parents = new LRUCache<number, number>({ max: mostFolders });
  /** Listings that were begun, by folder and by how many entries were given. */
  readonly #scans = new LRUCache<string, DirectoryScan>({ max: mostScans });
  readonly #indexes = new LRUCache<number, DirectoryIndex>({
    maxSize: mostIndexBytes,
    sizeCalculation: ({ byteLength }) => byteLength + 1,
  });
  #closing: Promise<void> | undefined;

  constructor(
    image: Disk,
    superblock: Superblock,
    metadata: Metadata,
    ids: Uint32Array,
    xattrs: ExtendedAttributes | undefined,
    problems: Problems,
  ) {
    const { blockSize, bytesUsed, fragments, fragmentTable, exportTable, inodes } = superblock;
    this.#image = image;
    this.#superblock = superblock;
    this.#metadata = metadata;
    this.#data = new DataBlocks(image, bytesUsed, blockSize, decompressorOf(superblock.compressor));
    this.#ids = ids;
    this.#xattrs = xattrs;
    this.#problems = problems;
    this.#inodes = new Inodes(metadata, superblock.inodeTable, superblock.root);
    this.#directories = new Directories(metadata, superblock.directoryTable);
    const fragmentBlocks =
      fragmentTable === undefined ? undefined : new IndexedTable(metadata, fragmentTable, fragments, 16);
    this.#files = new OpenFiles(blockSize, this.#inodes, this.#data, fragmentBlocks);
    this.#exports =
      exportTable === undefined ? undefined : new IndexedTable(metadata, exportTable, inodes, 8);
  }

  async lookup(folder: Inode, name: Name, signal: AbortSignal): Promise<Found> {
    this.#mustBeOpen();
    const above = Number(folder);
    const inode = await this.#folder(above, signal);
    if (name === parentName) {
      return {
        attributes: await this.attributes(await this.#parentOf(above, inode, signal), signal),
        freshSeconds: lasting,
      };
    }
    if (!isEntryName(name)) {
      const code = name.length > 255 ? 'ENAMETOOLONG' : 'EINVAL';
      throw new StillError(code, `${nameToText(name)} can't be the name of a file in a folder`);
    }
    const row = await this.#noting(async () =>
      this.#directories.find(inode, name, await this.#indexOf(above, inode, signal), signal),
    );
    if (!row) return { freshSeconds: lasting };
    const found = await this.#noting(() => this.#enter(above, row, signal));
    return { attributes: found, freshSeconds: lasting };
  }

  async attributes(inode: Inode, signal: AbortSignal): Promise<Attributes> {
    return this.#shown(inode, await this.#inode(Number(inode), signal));
  }

  async list(folder: Inode, after: bigint, signal: AbortSignal): Promise<readonly Entry[]> {
    this.#mustBeOpen();
    const above = Number(folder);
    const inode = await this.#folder(above, signal);
    // A cookie is how many entries there are up to the one after which to go on.
    for (let given = Number(after); ; ) {
      const scan = await this.#scanFrom(above, inode, given, signal);
      const rows = (await this.#noting(async () => scan?.rows(listed, signal))) ?? [];
      if (!scan || rows.length === 0) return [];
      const entries: Entry[] = [];
      for (const [index, row] of rows.entries()) {
        const entry = await this.#entry(above, row, BigInt(given + index + 1), signal);
        if (entry) entries.push(entry);
      }
      given += rows.length;
      if (entries.length === 0) {
        this.#scans.set(`${above} ${given}`, scan);
        continue;
      }
      this.#scans.set(`${above} ${entries.at(-1)?.cookie ?? given}`, scan);
      return entries;
    }
  }

  async readlink(inode: Inode, signal: AbortSignal): Promise<Uint8Array> {
    const link = await this.#inode(Number(inode), signal);
    if (link.type !== 'symlink')
      throw new StillError('EINVAL', `inode ${inode} is a ${link.type}, no symlink`);
    return this.#noting(async () =>
      Buffer.from(await this.#inodes.cursor(link.target).take(link.size, signal)),
    );
  }

  async xattr(inode: Inode, name: Name, signal: AbortSignal): Promise<Uint8Array> {
    const set = await this.#setOf(inode, signal);
    if (!set) throw new StillError('ENODATA', `inode ${inode} has no attribute ${nameToText(name)}`);
    return this.#noting(() => set.table.value(set.number, name, signal));
  }

  async xattrs(inode: Inode, signal: AbortSignal): Promise<readonly Name[]> {
    const set = await this.#setOf(inode, signal);
    return set ? this.#noting(() => set.table.names(set.number, signal)) : [];
  }

  async open(inode: Inode, access: Access, signal: AbortSignal): Promise<Opened> {
    if (access !== 'read')
      throw new StillError('EROFS', `inode ${inode} can't be written: a backup is never modified`);
    const file = await this.#inode(Number(inode), signal);
    if (file.type !== 'file') {
      const code = file.type === 'directory' ? 'EISDIR' : file.type === 'symlink' ? 'ELOOP' : 'ENXIO';
      throw new StillError(code, `inode ${inode} is a ${file.type}; only regular files are opened`);
    }
    return { handle: this.#files.open(Number(inode), file), cache: 'keep' };
  }

  read(handle: number, offset: number, target: Uint8Array, signal: AbortSignal): Promise<number> {
    return this.#noting(() => this.#files.read(handle, offset, target, signal));
  }

  seek(handle: number, offset: number, wanted: 'data' | 'hole', signal: AbortSignal): Promise<number> {
    return this.#noting(() => this.#files.seek(handle, offset, wanted, signal));
  }

  async release(handle: number): Promise<void> {
    this.#files.release(handle);
  }

  async capacity(): Promise<Capacity> {
    return { total: this.#superblock.bytesUsed, free: 0, files: this.#superblock.inodes };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#files.clear();
    this.#scans.clear();
    this.#metadata.clear();
    this.#data.clear();
    await this.#image.close();
  }

  #mustBeOpen(): void {
    if (this.#closing !== undefined) throw new StillError('ESTALE', 'the squashfs image is closed');
  }

  #inode(number: number, signal: AbortSignal): Promise<SquashfsInode> {
    this.#mustBeOpen();
    return this.#noting(() => this.#inodes.read(number, signal));
  }

  async #folder(number: number, signal: AbortSignal): Promise<DirectoryInode> {
    const inode = await this.#inode(number, signal);
    if (inode.type === 'directory') return inode;
    throw new StillError('ENOTDIR', `inode ${number} is a ${inode.type}, no folder`);
  }

  async #indexOf(
    number: number,
    folder: DirectoryInode,
    signal: AbortSignal,
  ): Promise<DirectoryIndex | undefined> {
    if (folder.indexes === 0) return undefined;
    const known = this.#indexes.get(number);
    if (known) return known;
    const index = await DirectoryIndex.read(this.#inodes.cursor(folder.index), folder, signal);
    this.#indexes.set(number, index);
    return index;
  }

  /** A listing, ready to go on after so many entries. Undefined where the folder is empty. */
  async #scanFrom(
    number: number,
    folder: DirectoryInode,
    given: number,
    signal: AbortSignal,
  ): Promise<DirectoryScan | undefined> {
    const key = `${number} ${given}`;
    const begun = this.#scans.get(key);
    if (begun) {
      // It goes on from here: nobody else may.
      this.#scans.delete(key);
      return begun;
    }
    return this.#noting(async () => {
      const scan = this.#directories.scan(folder.listing);
      await scan?.skip(given, signal);
      return scan;
    });
  }

  /** An entry with the attributes of its file, without them where they can't be read; none where its name is none. */
  async #entry(
    above: number,
    row: DirectoryRow,
    cookie: bigint,
    signal: AbortSignal,
  ): Promise<Entry | undefined> {
    const { name, place, type } = row;
    const number = this.#inodes.numberOf(place);
    if (number === undefined || !isEntryName(name)) {
      this.#problems.add(
        `${JSON.stringify(nameToText(name))} in a folder is left out: its name or its place is impossible.`,
      );
      return undefined;
    }
    try {
      const attributes = await this.#noting(() => this.#enter(above, row, signal));
      const found = { attributes, freshSeconds: lasting };
      return { name, inode: attributes.inode, type: attributes.type, cookie, found };
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof StillError)) throw error;
      return { name, inode: BigInt(number), type, cookie };
    }
  }

  /** The file of an entry. EIO: it is damaged, or a folder that stands elsewhere, so that a walk would go in circles. */
  async #enter(above: number, { name, place }: DirectoryRow, signal: AbortSignal): Promise<Attributes> {
    const number = this.#inodes.numberOf(place);
    if (number === undefined)
      throw new StillError('EIO', `the squashfs image has no inode for ${JSON.stringify(nameToText(name))}`);
    const inode = await this.#inodes.read(number, signal);
    if (inode.type === 'directory') {
      if (number === rootInode || (this.#parents.get(number) ?? above) !== above)
        throw new StillError(
          'EIO',
          `the folder ${JSON.stringify(nameToText(name))} of the squashfs image stands in two places`,
        );
      this.#parents.set(number, above);
    }
    return this.#shown(BigInt(number), inode);
  }

  async #parentOf(number: number, folder: DirectoryInode, signal: AbortSignal): Promise<Inode> {
    if (number === rootInode) return this.root;
    const known = this.#parents.get(number);
    if (known !== undefined) return BigInt(known);
    if (this.#exports && folder.parent > 0) {
      const reference = (await this.#exports.record(folder.parent - 1, signal)).readBigUInt64LE(0);
      const place = { block: Number(reference >> 16n), offset: Number(reference & 0xffffn) };
      const parent = this.#inodes.numberOf(place);
      if (parent !== undefined) {
        const inode = await this.#inode(parent, signal);
        if (inode.type === 'directory' && inode.head.number === folder.parent) return BigInt(parent);
      }
    }
    throw new StillError('ESTALE', `where folder ${number} is was forgotten; look it up anew`);
  }

  async #setOf(
    inode: Inode,
    signal: AbortSignal,
  ): Promise<{ table: ExtendedAttributes; number: number } | undefined> {
    const { xattrs: number } = await this.#inode(Number(inode), signal);
    if (number === undefined) return undefined;
    if (this.#xattrs) return { table: this.#xattrs, number };
    throw new StillError('EIO', 'the extended attributes of the squashfs image are damaged');
  }

  #shown(inode: Inode, stored: SquashfsInode): Attributes {
    const { type, head } = stored;
    const time = { seconds: head.modified, nanoseconds: 0 };
    const size = 'size' in stored ? stored.size : 0;
    const attributes: Attributes = {
      inode,
      type,
      permissions: head.permissions,
      links: stored.links,
      uid: this.#id(head.uid),
      gid: this.#id(head.gid),
      size,
      allocated: type === 'file' ? Math.max(size - stored.sparse, 0) : 0,
      accessed: time,
      modified: time,
      changed: time,
      freshSeconds: lasting,
      ...(stored.xattrs === undefined && { bare: true }),
    };
    return 'device' in stored ? { ...attributes, device: stored.device } : attributes;
  }

  #id(index: number): number {
    const id = this.#ids[index];
    if (id !== undefined) return id;
    throw new StillError('EIO', `the squashfs image has ${this.#ids.length} ids, none with number ${index}`);
  }

  /** Takes note of what is damaged. */
  async #noting<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof StillError && error.code === 'EIO') this.#problems.add(`${messageOf(error)}.`);
      throw error;
    }
  }
}
