import type { Disk } from '../../../disks/disk.js';
import { messageOf, StillError } from '../../../errors.js';
import { CachedReads } from '../../cached-reads.js';
import type { FileSystemOptions } from '../../file-system.js';
import type { BlockMap } from '../block-map.js';
import { Blocks } from '../blocks.js';
import { ExtentNodes, ExtentTree } from '../extent-tree.js';
import { IndirectBlocks } from '../indirect-blocks.js';
import { hasFlag } from '../inode.js';
import { Inodes } from '../inodes.js';
import type { Superblock } from '../superblock.js';
import { crc32BigEndian } from './crc32-be.js';
import { FastCommitScan } from './fast-commits.js';
import {
  type JournalSuperblock,
  journalSuperblockBytes,
  parseJournalSuperblock,
} from './journal-superblock.js';
import { LogBlocks } from './log-blocks.js';
import { LoggedBlocks } from './logged-blocks.js';
import { RecoveredDisk } from './recovered-disk.js';

const startOfChecksums = 0xffff_ffff;
const asItIs = 'It is shown as it is on the disk: what was changed last may be missing, or damaged.';

/**
 * The disk as Linux leaves it after it has replayed the journal; the same disk where that can't be done, with a sentence
 * that says why.
 */
export async function recovered(
  disk: Disk,
  superblock: Superblock,
  { signal, problem }: FileSystemOptions,
): Promise<Disk> {
  if (superblock.journalInode === 0) {
    problem(`The ext file system was not unmounted, and its journal is on another disk. ${asItIs}`);
    return disk;
  }
  try {
    const journal = await Journal.open(disk, superblock, signal);
    const { logged, log, note } = await new Recovery(journal).run(signal);
    if (note !== undefined) problem(note);
    return logged.size === 0 ? disk : new RecoveredDisk(disk, superblock.blockBytes, logged, log);
  } catch (error) {
    if (!(error instanceof StillError)) throw error;
    problem(`The journal of the ext file system can't be replayed: ${messageOf(error)}. ${asItIs}`);
    return disk;
  }
}

/** The blocks of a journal, in its own numbers. */
class Journal {
  readonly #map: BlockMap;
  readonly #blocks: Blocks;

  private constructor(
    readonly superblock: JournalSuperblock,
    map: BlockMap,
    blocks: Blocks,
  ) {
    this.#map = map;
    this.#blocks = blocks;
  }

  /** Its inode is read as it is on the disk. EIO: it is damaged. */
  static async open(disk: Disk, superblock: Superblock, signal: AbortSignal): Promise<Journal> {
    const { blockBytes, journalInode } = superblock;
    const cache = new CachedReads(disk, 'the ext file system');
    const blocks = new Blocks(disk, cache, blockBytes, superblock.blocks);
    const inode = await new Inodes(superblock, blocks).read(journalInode, signal);
    const map = hasFlag(inode, 'extents')
      ? new ExtentTree(inode, new ExtentNodes(blocks))
      : new IndirectBlocks(inode, blocks);
    const first = await blocks.read(await placeIn(map, 0, signal), signal);
    const inodeBlocks = Math.floor(inode.attributes.size / blockBytes);
    const own = parseJournalSuperblock(first.subarray(0, journalSuperblockBytes), blockBytes, inodeBlocks);
    return new Journal(own, map, blocks);
  }

  async read(index: number, signal: AbortSignal): Promise<Buffer> {
    return this.#blocks.read(await this.place(index, signal), signal);
  }

  /** Where a block is on the disk. */
  place(index: number, signal: AbortSignal): Promise<number> {
    return placeIn(this.#map, index, signal);
  }

  /** The block of the log that lies so many behind another: behind the last one is the first. */
  behind(index: number, count: number): number {
    const { first, end } = this.superblock;
    return first + ((index - first + count) % (end - first));
  }
}

async function placeIn(map: BlockMap, index: number, signal: AbortSignal): Promise<number> {
  const [run] = await map.runs(index, 1, signal);
  if (run?.block === undefined) throw new StillError('EIO', `its block ${index} is nowhere on the disk`);
  return run.block + index - run.first;
}

/** A transaction of which the end was not seen yet: where its descriptors and its lists of revoked blocks are in the log. */
interface OpenTransaction {
  readonly descriptors: number[];
  readonly revokes: number[];
  /** Whether all of them are what was written; if not, they may be left over from an older round through the log. */
  intact: boolean;
  /** Of all its blocks, with checksums v1. */
  checksum: number;
}

interface Recovered {
  readonly logged: LoggedBlocks;
  readonly log: LogBlocks;
  /** What a person must know of it. */
  readonly note: string | undefined;
}

/** Goes through a log once, transaction by transaction, as do_one_pass of linux fs/jbd2/recovery.c does in three rounds. */
class Recovery {
  readonly #journal: Journal;
  readonly #superblock: JournalSuperblock;
  readonly #log: LogBlocks;
  readonly #logged = new LoggedBlocks();
  #sequence: number;
  #at: number;
  /** Blocks that the walk may still go over: a log that is full goes round once. */
  #left: number;
  #lastCommit = 0n;

  constructor(journal: Journal) {
    this.#journal = journal;
    this.#superblock = journal.superblock;
    this.#log = new LogBlocks(this.#superblock);
    this.#sequence = this.#superblock.sequence;
    this.#at = this.#superblock.start;
    this.#left = this.#superblock.end - this.#superblock.first;
  }

  async run(signal: AbortSignal): Promise<Recovered> {
    const note = this.#superblock.start === 0 ? undefined : await this.#replay(signal);
    return { logged: this.#logged, log: this.#log, note };
  }

  /** Takes over all that is whole, and says what is not. */
  async #replay(signal: AbortSignal): Promise<string | undefined> {
    try {
      while (await this.#transaction(signal));
    } catch (error) {
      if (!(error instanceof StillError)) throw error;
      return `The journal of the ext file system is damaged in transaction ${this.#sequence} (${messageOf(error)}): what was changed from then on is not shown.`;
    }
    return this.#fastCommits(signal);
  }

  /** Takes one transaction over; false where there is none that is whole. EIO: it is damaged. */
  async #transaction(signal: AbortSignal): Promise<boolean> {
    const open: OpenTransaction = { descriptors: [], revokes: [], intact: true, checksum: startOfChecksums };
    while (this.#left > 0) {
      const index = this.#at;
      const bytes = await this.#journal.read(index, signal);
      const kind = this.#log.kind(bytes, this.#sequence);
      if (kind === undefined) return false;
      this.#pass(1);
      if (kind === 'commit') return this.#commit(open, bytes, signal);
      open.intact &&= this.#log.isIntact(bytes);
      if (kind === 'revoke') open.revokes.push(index);
      else {
        open.descriptors.push(index);
        const count = this.#log.tags(bytes).length;
        if (this.#superblock.checksums === 'v1') await this.#addToChecksum(open, bytes, count, signal);
        this.#pass(count);
      }
    }
    return false;
  }

  #pass(count: number): void {
    this.#at = this.#journal.behind(this.#at, count);
    this.#left -= count;
  }

  async #addToChecksum(
    open: OpenTransaction,
    descriptor: Buffer,
    count: number,
    signal: AbortSignal,
  ): Promise<void> {
    open.checksum = crc32BigEndian(open.checksum, descriptor);
    for (let each = 0; each < Math.min(count, this.#left); each++) {
      const block = await this.#journal.read(this.#journal.behind(this.#at, each), signal);
      open.checksum = crc32BigEndian(open.checksum, block);
    }
  }

  async #commit(open: OpenTransaction, bytes: Buffer, signal: AbortSignal): Promise<boolean> {
    const time = this.#log.commitTime(bytes);
    if (!open.intact || !this.#log.isCommitIntact(bytes, open.checksum)) {
      // What is older was left over from the round before; commits that wait for nothing may be there before their blocks.
      if (time < this.#lastCommit || (open.intact && this.#superblock.asyncCommits)) return false;
      throw new StillError('EIO', 'a checksum in it is wrong');
    }
    // Before anything is taken over: a transaction is whole, or nothing.
    for (const index of open.revokes) this.#log.revoked(await this.#journal.read(index, signal));
    for (const index of open.descriptors) await this.#take(index, signal);
    for (const index of open.revokes) {
      for (const block of this.#log.revoked(await this.#journal.read(index, signal)))
        this.#logged.delete(block);
    }
    this.#lastCommit = time;
    this.#sequence = (this.#sequence + 1) >>> 0;
    return true;
  }

  /** Takes over the blocks that a descriptor tells of. */
  async #take(descriptor: number, signal: AbortSignal): Promise<void> {
    const tags = this.#log.tags(await this.#journal.read(descriptor, signal));
    for (const [each, { block, escaped, checksum }] of tags.entries()) {
      const place = await this.#journal.place(this.#journal.behind(descriptor, each + 1), signal);
      this.#logged.set(block, { place, sequence: this.#sequence, checksum, escaped });
    }
  }

  /** Whether there are fast commits after the last transaction, as a sentence: they are not replayed. */
  async #fastCommits(signal: AbortSignal): Promise<string | undefined> {
    const { fastCommits } = this.#superblock;
    if (!fastCommits) return undefined;
    const scan = new FastCommitScan(this.#sequence);
    for (let index = fastCommits.first; index < fastCommits.end; index++) {
      const outcome = scan.look(await this.#journal.read(index, signal));
      if (outcome === 'none') return undefined;
      if (outcome === 'whole')
        return 'The journal of the ext file system has fast commits, which are not replayed: what was synced last may be missing.';
    }
    return undefined;
  }
}
