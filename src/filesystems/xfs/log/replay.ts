import type { Disk } from '../../../disks/disk.js';
import { messageOf, StillError } from '../../../errors.js';
import { rest, spend } from '../../../pace.js';
import { CachedReads } from '../../cached-reads.js';
import { Addresses, basicBlock } from '../addresses.js';
import { inodeMagic } from '../inode.js';
import type { Superblock } from '../superblock.js';
import { type BufferItem, parseBufferItem } from './buffer-item.js';
import { sequenceOf } from './buffer-sequence.js';
import { dirtyRange, type LogRange } from './dirty-range.js';
import { type InodeCreation, parseInodeCreation } from './inode-creation.js';
import { applyInodeItem, type InodeItem, isNewer, parseInodeItem } from './inode-item.js';
import { Intents } from './intents.js';
import { PhysicalLog } from './physical-log.js';
import { ReplayedDisk } from './replayed-disk.js';
import { type LogItem, type Transaction, transactionsOf } from './transactions.js';

/** XFS_LI_*. Of quotas nothing is read. */
const itemType = { inode: 0x123b, buffer: 0x123c, inodeCreation: 0x123f } as const;
const quotaTypes = new Set([0x123d, 0x123e]);
const logReads = { pageBytes: 16 * 1024, mostBytes: 8 * 1024 * 1024, mostPagesAhead: 16 };
/** About what replaying an item costs, in milliseconds. */
const perItem = 0.01;
/** A log of so many bytes is read once, and kept for the second time that it is gone through. */
const mostKept = 48 * 1024 * 1024;
/** So many places are read at once before a transaction is replayed over them. */
const readAtOnce = 8;

/**
 * Replays the log in memory, as Linux does when it mounts: what a file system that was not unmounted has promised is in its
 * log. Undefined: the disk is whole as it is; or it can't be done, then a sentence says so and the disk is shown as it is
 * (`norecovery`).
 */
export async function replayLog(
  disk: Disk,
  name: string,
  superblock: Superblock,
  signal: AbortSignal,
  problem: (sentence: string) => void,
): Promise<ReplayedDisk | undefined> {
  const { log, blockSize, version } = superblock;
  if (log.start === 0) {
    problem('The log of the XFS file system is on another disk: changes that are only there are missing.');
    return undefined;
  }
  const addresses = new Addresses(superblock);
  const replayed = new ReplayedDisk(disk, name);
  try {
    const offset = addresses.ofBlocks(log.start, log.blocks);
    const reads = new CachedReads(disk, name, logReads);
    const physical = new PhysicalLog(reads, offset, log.blocks * blockSize, log.version);
    const range = await dirtyRange(physical, version === 5, signal);
    if (!range) return undefined;
    const replaying = new Replaying(replayed, superblock, addresses);
    await replaying.run(physical, range, signal);
    replayed.settle();
    const { sentence } = replaying.intents;
    if (sentence !== undefined) problem(sentence);
    return replayed;
  } catch (error) {
    replayed.forget();
    if (!(error instanceof StillError)) throw error;
    problem(
      `The XFS file system was not unmounted, and its log can't be replayed: ${messageOf(error)}. ` +
        'It is shown as it is on the disk, without the last changes; what was being changed may be damaged.',
    );
    return undefined;
  }
}

class Replaying {
  readonly intents = new Intents();
  readonly #disk: ReplayedDisk;
  readonly #superblock: Superblock;
  readonly #addresses: Addresses;
  /** Buffers that were given back, and how often they will be from where the log is read. */
  readonly #cancelled = new Map<string, number>();

  constructor(disk: ReplayedDisk, superblock: Superblock, addresses: Addresses) {
    this.#disk = disk;
    this.#superblock = superblock;
    this.#addresses = addresses;
  }

  async run(log: PhysicalLog, range: LogRange, signal: AbortSignal): Promise<void> {
    const { logUuid, version } = this.#superblock;
    const transactions = () => transactionsOf(log, range, logUuid, version === 5, signal);
    const kept: Transaction[] | undefined =
      log.distance(range.tail, range.head) * basicBlock <= mostKept ? [] : undefined;
    for await (const transaction of transactions()) {
      for (const item of transaction.items) this.#note(item);
      kept?.push(transaction);
    }
    for await (const transaction of kept ?? transactions()) await this.#replay(transaction, signal);
  }

  /** What was given back may be a file's now: nothing older must be written there. So it is looked for first. */
  #note(item: LogItem): void {
    if (item.type !== itemType.buffer) return;
    const buffer = parseBufferItem(item);
    if (!buffer.isCancel) return;
    const key = keyOf(buffer);
    this.#cancelled.set(key, (this.#cancelled.get(key) ?? 0) + 1);
  }

  async #replay({ sequence, items }: Transaction, signal: AbortSignal): Promise<void> {
    const buffers: Array<BufferItem | InodeCreation> = [];
    const inodes: InodeItem[] = [];
    const cancels: BufferItem[] = [];
    for (const item of items) {
      switch (item.type) {
        case itemType.buffer: {
          const buffer = parseBufferItem(item);
          if (buffer.isCancel) cancels.push(buffer);
          else if (buffer.kind === 'metadata') buffers.push(buffer);
          break;
        }
        case itemType.inodeCreation:
          buffers.push(parseInodeCreation(item, this.#superblock, this.#addresses));
          break;
        case itemType.inode:
          inodes.push(parseInodeItem(item));
          break;
        default:
          if (!this.intents.take(item) && !quotaTypes.has(item.type))
            throw new StillError('EIO', `its item of the type ${item.type.toString(16)} is not known`);
      }
    }
    await this.#readAhead(buffers, inodes, signal);
    for (const buffer of buffers) {
      spend(perItem);
      await rest();
      if ('changes' in buffer) await this.#buffer(buffer, sequence, signal);
      else await this.#creation(buffer, signal);
    }
    // Inodes come after the blocks that they are in.
    for (const inode of inodes) {
      spend(perItem);
      await rest();
      await this.#inode(inode, sequence, signal);
    }
    for (const buffer of cancels) this.#uncancel(buffer);
  }

  async #readAhead(
    buffers: ReadonlyArray<BufferItem | InodeCreation>,
    inodes: readonly InodeItem[],
    signal: AbortSignal,
  ): Promise<void> {
    const { inodeSize } = this.#superblock;
    const places = [
      ...buffers.flatMap((each) => ('changes' in each ? [{ offset: each.offset, length: each.length }] : [])),
      ...inodes.map(({ buffer, at }) => ({ offset: buffer.offset + at, length: inodeSize })),
    ].filter(({ offset, length }) => !this.#disk.peek(offset, length));
    places.sort((one, other) => one.offset - other.offset);
    for (let from = 0; from < places.length; from += readAtOnce) {
      const some = places.slice(from, from + readAtOnce);
      await Promise.all(some.map(({ offset, length }) => this.#disk.now(offset, length, signal)));
    }
  }

  async #buffer(buffer: BufferItem, sequence: bigint, signal: AbortSignal): Promise<void> {
    if (this.#cancelled.has(keyOf(buffer))) return;
    const bytes = await this.#disk.now(buffer.offset, buffer.length, signal);
    if (this.#superblock.version === 5) {
      const written = sequenceOf(bytes, this.#superblock);
      if (written !== undefined && written >= sequence) return;
    }
    for (const { at, bytes: changed } of buffer.changes)
      await this.#disk.write(buffer.offset + at, changed, signal);
  }

  async #creation({ offset, bytes }: InodeCreation, signal: AbortSignal): Promise<void> {
    const end = offset + bytes.length;
    for (const key of this.#cancelled.keys()) {
      const from = Number(key.split(' ', 1)[0]);
      if (from >= offset && from < end) return;
    }
    await this.#disk.write(offset, bytes, signal);
  }

  async #inode(item: InodeItem, sequence: bigint, signal: AbortSignal): Promise<void> {
    if (this.#cancelled.has(keyOf(item.buffer))) return;
    const { inodeSize } = this.#superblock;
    const offset = item.buffer.offset + item.at;
    if (this.#addresses.ofInode(item.inode) !== offset || item.at + inodeSize > item.buffer.length)
      throw new StillError('EIO', `its inode ${item.inode} is not at ${offset}`);
    const now = this.#disk.peek(offset, inodeSize) ?? (await this.#disk.now(offset, inodeSize, signal));
    if (now.readUInt16BE(0) !== inodeMagic)
      throw new StillError('EIO', `no inode is at ${offset}, where the log has inode ${item.inode}`);
    if (item.changesOwners) this.#disk.exchanged.add(item.inode);
    if (isNewer(now, item.core, sequence)) return;
    const bytes = Buffer.from(now);
    applyInodeItem(bytes, item, sequence);
    await this.#disk.write(offset, bytes, signal);
  }

  /** Behind the last time that a buffer was given back its changes count again. */
  #uncancel(buffer: BufferItem): void {
    const key = keyOf(buffer);
    const left = (this.#cancelled.get(key) ?? 0) - 1;
    if (left > 0) this.#cancelled.set(key, left);
    else this.#cancelled.delete(key);
  }
}

function keyOf({ offset, length }: { readonly offset: number; readonly length: number }): string {
  return `${offset} ${length}`;
}
