import { StillError } from '../../errors.js';
import type { Name } from '../../name.js';
import type { Inode } from '../../tree/attributes.js';
import type { FolderEntry, ListedEntry } from '../file-system.js';
import { Addresses } from './addresses.js';
import type { ForkMap } from './extent-records.js';
import { addressesOf, FolderBlock, type HashIndex } from './folder-block.js';
import { isDots, type StoredEntry } from './folder-entry.js';
import { mapOf, placesOf } from './fork.js';
import { findLeaf, layoutOf, nextLeaf } from './hash-tree.js';
import type { InodeForks } from './inode-forks.js';
import { type BlockKind, blockKinds, type MetadataBlocks } from './metadata-blocks.js';
import { areAlike, nameHash } from './name-hash.js';
import { parseShortFolder, type ShortFolder } from './short-folder.js';

/** Entries are in the first 32 GiB of a folder, its index in the second: XFS_DIR2_SPACE_SIZE. */
const spaceBytes = 2 ** 35;
/** What an address in an index counts. */
const addressUnit = 8;
const leafMagics = new Set([0xd2f1, 0xd2ff, 0x3df1, 0x3dff]);
/** So many blocks of an index can hold names of one hash, before it is taken for a circle. */
const mostLeavesOfAHash = 4096;

/** What a folder holds, in whatever form. */
export interface FolderEntries {
  find(name: Name, signal: AbortSignal): Promise<FolderEntry | undefined>;
  entries(after: bigint, signal: AbortSignal): Promise<readonly ListedEntry[]>;
  parent(signal: AbortSignal): Promise<Inode>;
}

/** EIO: the inode is damaged. */
export function entriesOf(metadata: MetadataBlocks, inode: InodeForks): FolderEntries {
  const { hasFileTypes, ignoresCase } = metadata.superblock;
  if (inode.data.format !== 'local') return new BlockFolder(metadata, inode);
  return new InlineFolder(parseShortFolder(inode.data.bytes, inode.number, hasFileTypes), ignoresCase);
}

class InlineFolder implements FolderEntries {
  readonly #folder: ShortFolder;
  readonly #ignoresCase: boolean;

  constructor(folder: ShortFolder, ignoresCase: boolean) {
    this.#folder = folder;
    this.#ignoresCase = ignoresCase;
  }

  async find(name: Name): Promise<FolderEntry | undefined> {
    const { entries } = this.#folder;
    const found =
      entries.find((entry) => entry.name === name) ??
      (this.#ignoresCase ? entries.find((entry) => areAlike(entry.name, name)) : undefined);
    return found && shown(found);
  }

  async entries(after: bigint): Promise<readonly ListedEntry[]> {
    const given = Number(after);
    return this.#folder.entries.slice(given).map((entry, index) => listed(entry, given + index + 1));
  }

  async parent(): Promise<Inode> {
    return this.#folder.parent;
  }
}

class BlockFolder implements FolderEntries {
  readonly #metadata: MetadataBlocks;
  readonly #addresses: Addresses;
  readonly #inode: number;
  readonly #map: ForkMap;
  /** File system blocks in one of the folder's. */
  readonly #blocks: number;

  constructor(metadata: MetadataBlocks, inode: InodeForks) {
    this.#metadata = metadata;
    this.#addresses = new Addresses(metadata.superblock);
    this.#inode = inode.number;
    this.#map = mapOf(metadata, inode.number, inode.data);
    const { blockSize, folderBlockSize } = metadata.superblock;
    this.#blocks = folderBlockSize / blockSize;
  }

  async find(name: Name, signal: AbortSignal): Promise<FolderEntry | undefined> {
    const { ignoresCase } = this.#metadata.superblock;
    const hash = nameHash(name, ignoresCase);
    let alike: StoredEntry | undefined;
    for await (const address of this.#addressesOf(hash, signal)) {
      const offset = address * addressUnit;
      const { folderBlockSize } = this.#metadata.superblock;
      const number = Math.floor(offset / folderBlockSize);
      const block = await this.#dataBlock(number, signal);
      const entry = block.entryAt(offset - number * folderBlockSize);
      if (entry.name === name) return shown(entry);
      if (ignoresCase && areAlike(entry.name, name)) alike ??= entry;
    }
    return alike && shown(alike);
  }

  async entries(after: bigint, signal: AbortSignal): Promise<readonly ListedEntry[]> {
    const { blockSize, folderBlockSize } = this.#metadata.superblock;
    // A cookie is where an entry ends in the folder.
    const from = Number(after);
    const end = spaceBytes / blockSize;
    for (let number = Math.floor(from / folderBlockSize); ; number++) {
      signal.throwIfAborted();
      const first = number * this.#blocks;
      if (first >= end) return [];
      const run = this.#map.runNow(first, end) ?? (await this.#map.run(first, end, signal));
      const [extent] = run.extents;
      if (!extent) {
        if (run.until >= end) return [];
        number = Math.max(number, Math.floor(run.until / this.#blocks) - 1);
        continue;
      }
      // Blocks that were emptied are holes.
      number = Math.max(number, Math.floor(extent.first / this.#blocks));
      const start = number * folderBlockSize;
      const block = await this.#dataBlock(number, signal);
      const rows = block.entries(from - start).filter((entry) => !isDots(entry.name));
      if (rows.length > 0) return rows.map((entry) => listed(entry, start + entry.end));
    }
  }

  async parent(signal: AbortSignal): Promise<Inode> {
    const block = await this.#dataBlock(0, signal);
    const entry = block.entries(0).find(({ name }) => name === '..');
    if (entry) return entry.inode;
    throw new StillError('EIO', `folder ${this.#inode} is damaged: it does not tell where it is`);
  }

  /** The addresses that the folder's index has for a hash. */
  async *#addressesOf(hash: number, signal: AbortSignal): AsyncGenerator<number> {
    const { blockSize, version } = this.#metadata.superblock;
    const first = await this.#dataBlock(0, signal);
    if (first.index) {
      yield* addressesOf(first.index, hash).found;
      return;
    }
    const block = (number: number): Promise<Buffer> => this.#block(number, blockKinds.folderTree, signal);
    let leaf = await findLeaf(spaceBytes / blockSize, hash, layoutOf(version), block);
    for (let turns = 0; leaf; turns++) {
      if (turns === mostLeavesOfAHash)
        throw new StillError('EIO', `the index of folder ${this.#inode} is damaged: it goes in circles`);
      const { found, mayGoOn } = addressesOf(this.#leafIndex(leaf), hash);
      yield* found;
      const next = mayGoOn ? nextLeaf(leaf) : 0;
      leaf = next === 0 ? undefined : await block(next);
    }
  }

  #leafIndex(bytes: Buffer): HashIndex {
    const { countAt, nodeHeader } = layoutOf(this.#metadata.superblock.version);
    const count = bytes.readUInt16BE(countAt);
    if (!leafMagics.has(bytes.readUInt16BE(8)) || nodeHeader + count * 8 > bytes.length)
      throw new StillError(
        'EIO',
        `the index of folder ${this.#inode} is damaged: a leaf has ${count} entries`,
      );
    return { bytes, from: nodeHeader, count };
  }

  async #dataBlock(number: number, signal: AbortSignal): Promise<FolderBlock> {
    const { version, hasFileTypes } = this.#metadata.superblock;
    const bytes = await this.#block(number * this.#blocks, blockKinds.folderData, signal);
    return new FolderBlock(bytes, this.#inode, version, hasFileTypes);
  }

  /** A block of the folder, by its number in units of the file system's. */
  async #block(first: number, kind: BlockKind, signal: AbortSignal): Promise<Buffer> {
    const { blockSize } = this.#metadata.superblock;
    const places = await placesOf(this.#map, this.#addresses, blockSize, first, this.#blocks, signal);
    if (!places) throw new StillError('EIO', `folder ${this.#inode} is damaged: it lacks its block ${first}`);
    return this.#metadata.block(places, kind, this.#inode, signal);
  }
}

function shown({ inode, type }: StoredEntry): FolderEntry {
  return { inode, type };
}

function listed({ name, inode, type }: StoredEntry, cookie: number): ListedEntry {
  return { name, inode, type, cookie: BigInt(cookie) };
}
