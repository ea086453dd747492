import { LRUCache } from 'lru-cache';
import { crc32c } from '../crc32c.js';
import type { BlockMap, BlockRun } from './block-map.js';
import type { Blocks } from './blocks.js';
import { lengthOf } from './directory-entries.js';
import type { EntryBlocks } from './entry-blocks.js';
import { damaged, type ExtInode } from './inode.js';

// linux fs/ext4/ext4.h: struct ext4_dir_entry_tail, looks like a free entry; struct dx_tail behind the entries of an index
const tailBytes = 12;
const tailType = 0xde;
const indexEntryBytes = 8;
/** An index's node begins with one entry, its root with `.` and `..` and struct dx_root_info. */
const nodeStart = 8;
const dotBytes = 12;
const rootInfoAt = 24;
const rootInfoBytes = 8;
const remembered = 4096;
/** Runs of a folder are asked for so far ahead. */
const blocksAhead = 1024;
const zeros = Buffer.alloc(4);

/** Blocks of folders whose checksums were found to be right: they need not be reckoned at each look-up. */
export class IntactBlocks {
  readonly #intact = new LRUCache<number, number>({ max: remembered });

  /** By its number, and by what its checksum begins with: it is one folder's. */
  has(block: number, seed: number): boolean {
    return this.#intact.get(block) === seed;
  }

  add(block: number, seed: number): void {
    this.#intact.set(block, seed);
  }
}

/** The blocks of a folder, by their numbers in it. */
export class FolderBlocks implements EntryBlocks {
  readonly count: number;
  readonly bytes: number;
  readonly #owner: ExtInode;
  readonly #map: BlockMap;
  readonly #blocks: Blocks;
  readonly #intact: IntactBlocks;
  #run: BlockRun = { first: 0, count: 0, block: undefined };

  constructor(owner: ExtInode, map: BlockMap, blocks: Blocks, intact: IntactBlocks) {
    this.#owner = owner;
    this.#map = map;
    this.#blocks = blocks;
    this.#intact = intact;
    this.bytes = blocks.bytes;
    // No folder has more blocks than there are: a walk through one ends.
    this.count = Math.min(Math.floor(owner.attributes.size / blocks.bytes), blocks.count);
  }

  async entries(index: number, signal: AbortSignal): Promise<Buffer> {
    const block = await this.#place(index, signal);
    const bytes = await this.#blocks.read(block, signal);
    this.#check(block, index, () => this.#isIntact(bytes));
    return bytes;
  }

  async index(index: number, at: number, signal: AbortSignal): Promise<Buffer> {
    const block = await this.#place(index, signal);
    const bytes = await this.#blocks.read(block, signal);
    this.#check(block, index, () => this.#isIndexIntact(bytes, at));
    return bytes;
  }

  async afterHole(index: number, signal: AbortSignal): Promise<number> {
    const run = await this.#runAt(index, signal);
    return run.block === undefined ? Math.min(run.first + run.count, this.count) : index;
  }

  async #place(index: number, signal: AbortSignal): Promise<number> {
    const { number } = this.#owner;
    if (index >= this.count) throw damaged(number, `it has ${this.count} blocks, and not block ${index}`);
    const { first, block } = await this.#runAt(index, signal);
    if (block === undefined) throw damaged(number, `it is a folder with a hole at its block ${index}`);
    return block + index - first;
  }

  async #runAt(index: number, signal: AbortSignal): Promise<BlockRun> {
    const holds = ({ first, count }: BlockRun): boolean => first <= index && index < first + count;
    if (holds(this.#run)) return this.#run;
    const [run] = await this.#map.runs(index, blocksAhead, signal);
    if (!run || !holds(run)) throw damaged(this.#owner.number, `nothing tells where its block ${index} is`);
    this.#run = run;
    return run;
  }

  #check(block: number, index: number, isIntact: () => boolean): void {
    const { checksumSeed, number } = this.#owner;
    if (checksumSeed === undefined || this.#intact.has(block, checksumSeed)) return;
    if (!isIntact()) throw damaged(number, `the checksum of block ${index} of the folder is wrong`);
    this.#intact.add(block, checksumSeed);
  }

  #isIntact(bytes: Buffer): boolean {
    // The end of an index may still look like that of entries.
    const start = indexStart(bytes);
    if (start !== undefined) return this.#isIndexIntact(bytes, start);
    const at = bytes.length - tailBytes;
    const hasTail = bytes.readUInt16LE(at + 4) === tailBytes && bytes.readUInt8(at + 7) === tailType;
    return hasTail && crc32c(this.#seed, bytes, 0, at) === bytes.readUInt32LE(at + 8);
  }

  #isIndexIntact(bytes: Buffer, at: number): boolean {
    const tail = at + bytes.readUInt16LE(at) * indexEntryBytes;
    const end = at + bytes.readUInt16LE(at + 2) * indexEntryBytes;
    if (tail + 8 > bytes.length || end > tail) return false;
    const begun = crc32c(crc32c(this.#seed, bytes, 0, end), bytes, tail, tail + 4);
    return crc32c(begun, zeros) === bytes.readUInt32LE(tail + 4);
  }

  get #seed(): number {
    return this.#owner.checksumSeed ?? 0;
  }
}

/** Where the entries begin in a block of an index, which looks like one of entries that are free; undefined in others. */
function indexStart(bytes: Buffer): number | undefined {
  const fills = (at: number): boolean =>
    lengthOf(bytes.readUInt16LE(at + 4), bytes.length) === bytes.length - at;
  if (bytes.readUInt32LE(0) === 0 && fills(0)) return nodeStart;
  const isRoot =
    bytes.readUInt16LE(4) === dotBytes &&
    fills(dotBytes) &&
    bytes.readUInt32LE(rootInfoAt) === 0 &&
    bytes.readUInt8(rootInfoAt + 5) === rootInfoBytes;
  return isRoot ? rootInfoAt + rootInfoBytes : undefined;
}
