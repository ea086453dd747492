import { LRUCache } from 'lru-cache';
import { crc32c } from '../crc32c.js';
import { type BlockMap, type BlockRun, JoinedRuns } from './block-map.js';
import type { Blocks } from './blocks.js';
import { damaged, type ExtInode } from './inode.js';

// linux fs/ext4/ext4_extents.h: struct ext4_extent_header, then struct ext4_extent or struct ext4_extent_idx; in blocks
// struct ext4_extent_tail behind them
const magic = 0xf30a;
const headerBytes = 12;
const entryBytes = 12;
const deepest = 5;
/** Longer ones were allocated and never written to: the rest is their length. */
const longestWritten = 32768;
/** Blocks of a file are numbered with 32 bits. */
const mostBlocks = 2 ** 32;
const mostCachedBytes = 8 << 20;

/** A node of the tree, taken apart. */
interface ExtentNode {
  /** 0: a leaf. */
  readonly depth: number;
  readonly count: number;
  /** In the file, ascending. */
  readonly firsts: Uint32Array;
  /** Of a leaf: how many blocks. */
  readonly counts: Uint32Array;
  /** On the disk; of an index the next node. -1: never written to. */
  readonly blocks: Float64Array;
  /** What its checksum began with: it is one file's. */
  readonly seed: number | undefined;
}

/** Nodes of extent trees that were read of late. */
export class ExtentNodes {
  readonly blocks: Blocks;
  readonly #nodes = new LRUCache<number, ExtentNode>({
    maxSize: mostCachedBytes,
    sizeCalculation: ({ count }) => 200 + count * 16,
  });

  constructor(blocks: Blocks) {
    this.blocks = blocks;
  }

  /** EIO: the node is damaged. */
  async read(owner: ExtInode, block: number, depth: number, signal: AbortSignal): Promise<ExtentNode> {
    const known = this.#nodes.get(block);
    if (known && known.depth === depth && known.seed === owner.checksumSeed) return known;
    const bytes = await this.blocks.read(block, signal);
    const where = `block ${block} of its extent tree`;
    const node = parseNode(owner, this.blocks, bytes, where);
    if (node.depth !== depth)
      throw damaged(owner.number, `${where} is ${node.depth} above a leaf, not ${depth}`);
    const tailAt = headerBytes + entryBytes * bytes.readUInt16LE(4);
    if (owner.checksumSeed !== undefined) {
      const intact =
        tailAt + 4 <= bytes.length &&
        crc32c(owner.checksumSeed, bytes, 0, tailAt) === bytes.readUInt32LE(tailAt);
      if (!intact) throw damaged(owner.number, `the checksum of ${where} is wrong`);
    }
    this.#nodes.set(block, node);
    return node;
  }
}

/** Where a file's blocks are, by a tree of extents. */
export class ExtentTree implements BlockMap {
  readonly #owner: ExtInode;
  readonly #nodes: ExtentNodes;
  readonly #root: ExtentNode;

  /** EIO: the root is damaged. */
  constructor(owner: ExtInode, nodes: ExtentNodes) {
    this.#owner = owner;
    this.#nodes = nodes;
    this.#root = parseNode(owner, nodes.blocks, owner.blockField, 'the root of its extent tree');
  }

  async runs(first: number, count: number, signal: AbortSignal): Promise<readonly BlockRun[]> {
    if (first >= mostBlocks) throw damaged(this.#owner.number, `no extent can tell where block ${first} is`);
    let node = this.#root;
    /** Where another node begins to tell. */
    let end = mostBlocks;
    while (node.depth > 0) {
      const at = lastUpTo(node, first);
      end = Math.min(end, node.firsts[at + 1] ?? end);
      const block = node.blocks[at];
      if (block === undefined) return [{ first, count: end - first, block: undefined }];
      node = await this.#nodes.read(this.#owner, block, node.depth - 1, signal);
    }
    return runsOf(node, first, Math.min(first + count, mostBlocks), end);
  }
}

/** What a leaf tells from a block on to another, where it does not end before. */
function runsOf(leaf: ExtentNode, first: number, wanted: number, end: number): readonly BlockRun[] {
  const joined = new JoinedRuns();
  let at = Math.max(lastUpTo(leaf, first), 0);
  let next = first;
  for (; next < wanted && at < leaf.count; at++) {
    const from = leaf.firsts[at] ?? 0;
    const to = from + (leaf.counts[at] ?? 0);
    if (to <= next) continue;
    if (from > next) {
      joined.add(next, from - next, undefined);
      next = from;
      if (next >= wanted) break;
    }
    const block = leaf.blocks[at] ?? -1;
    joined.add(next, to - next, block < 0 ? undefined : block + next - from);
    next = to;
  }
  if (next < wanted && next < end) joined.add(next, end - next, undefined);
  return joined.runs;
}

/** The place of the last entry that begins at or before a block; -1 where all are after it. */
function lastUpTo({ firsts, count }: ExtentNode, block: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((firsts[middle] ?? 0) <= block) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function parseNode(owner: ExtInode, disk: Blocks, bytes: Buffer, where: string): ExtentNode {
  const wrong = (how: string): Error => damaged(owner.number, `${where} ${how}`);
  if (bytes.readUInt16LE(0) !== magic) throw wrong('has another magic number');
  const count = bytes.readUInt16LE(2);
  const most = bytes.readUInt16LE(4);
  const depth = bytes.readUInt16LE(6);
  if (count > most || headerBytes + most * entryBytes > bytes.length)
    throw wrong(`is said to have ${count} of ${most} entries`);
  if (depth > deepest) throw wrong(`is said to be ${depth} above its leaves`);
  const firsts = new Uint32Array(count);
  const counts = new Uint32Array(depth === 0 ? count : 0);
  const blocks = new Float64Array(count);
  /** Where the next extent may begin. */
  let free = 0;
  for (let entry = 0; entry < count; entry++) {
    const at = headerBytes + entry * entryBytes;
    const first = bytes.readUInt32LE(at);
    if (first < free) throw wrong(`has entries that are not in order at block ${first}`);
    firsts[entry] = first;
    if (depth > 0) {
      blocks[entry] = bytes.readUInt32LE(at + 4) + bytes.readUInt16LE(at + 8) * 2 ** 32;
      free = first + 1;
      continue;
    }
    const stored = bytes.readUInt16LE(at + 4);
    const length = stored > longestWritten ? stored - longestWritten : stored;
    const block = bytes.readUInt32LE(at + 8) + bytes.readUInt16LE(at + 6) * 2 ** 32;
    free = first + length;
    if (length === 0 || free > mostBlocks || !disk.hold(block, length))
      throw wrong(`tells of ${length} blocks from ${block} on`);
    counts[entry] = length;
    blocks[entry] = stored > longestWritten ? -1 : block;
  }
  return { depth, count, firsts, counts, blocks, seed: owner.checksumSeed };
}
