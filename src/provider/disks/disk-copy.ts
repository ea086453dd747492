import type { NbdWriter } from '../../disks/nbd/nbd-writer.js';
import { pageAligned } from '../../posix/page-aligned.js';
import { blockBytes, digestBytes, digestOf, digestOfZeros, lengthOfBlock } from '../sums/sums-format.js';
import type { SumsWriter } from '../sums/sums-writer.js';
import type { Basis } from './basis.js';
import { type BlockRun, type ByteRange, blockRuns } from './block-runs.js';
import { clusterBytes, writeClusters } from './cluster-writes.js';
import type { DirtyRow } from './dirty-rows.js';
import type { GiveBack } from './give-back.js';
import { inLanes } from './lanes.js';
import type { SnapshotDisk } from './snapshot-disk.js';

/** How many blocks of a disk are under way at once. */
const lanes = 8;
/** So many checksums are compared at a time. */
const digestsAtOnce = 4096;

/** All that the copying of one disk needs, and whom it tells. */
export interface DiskCopy {
  readonly source: SnapshotDisk;
  /** What has changed, or all. */
  readonly rows: AsyncIterable<DirtyRow>;
  /** Only what has changed can be read of the source. */
  readonly limited: boolean;
  readonly basis: Basis;
  readonly image: NbdWriter;
  readonly sums: SumsWriter;
  readonly giveBack: GiveBack;
  /** Waits until so many bytes may be read. */
  readonly admit: (bytes: number, signal: AbortSignal) => Promise<void>;
  /** So many bytes are dealt with, of which so many differ from the parent's, or are not zeros where there is none. */
  readonly progress: (bytes: number, changed: number) => void;
}

/**
 * Copies a snapshot's disk into an image: whole clusters, and only those that have changed. Of a disk without a parent zeros are
 * left out; upon a parent they are written as such, for its bytes would show. The checksums are those of the whole disk.
 */
export async function copyDisk(copy: DiskCopy, signal: AbortSignal): Promise<void> {
  const copier = new DiskCopier(copy);
  const runs = blockRuns(copy.rows, copy.source.sizeBytes, copy.limited ? noHoles : copy.source);
  await inLanes(runs, lanes, () => {
    const buffer = pageAligned(blockBytes);
    return async (run) => {
      signal.throwIfAborted();
      await copier.run(run, buffer, signal);
    };
  });
}

/** Of a disk that can't be read as a whole nothing is said but what is dirty. */
const noHoles = { nextData: async (offset: number) => offset, nextHole: async () => Number.MAX_SAFE_INTEGER };

class DiskCopier {
  readonly #copy: DiskCopy;
  readonly #sizeBytes: number;

  constructor(copy: DiskCopy) {
    this.#copy = copy;
    this.#sizeBytes = copy.source.sizeBytes;
  }

  async run(run: BlockRun, buffer: Buffer<ArrayBuffer>, signal: AbortSignal): Promise<void> {
    const { basis, limited, giveBack, progress } = this.#copy;
    let changed = 0;
    if (run.zero) changed = await this.#zeroRun(run, buffer, signal);
    else if (run.dirty.length > 0) changed = await this.#block(run, buffer, signal);
    const offset = run.first * blockBytes;
    const length = Math.min(run.count * blockBytes, this.#sizeBytes - offset);
    for (const range of limited ? run.dirty : [{ offset, length }]) await giveBack.written(range, changed);
    const dirtyBytes = run.dirty.reduce((sum, range) => sum + range.length, 0);
    progress(basis.kind === 'comparison' ? length : dirtyBytes, changed);
  }

  /** Whole blocks that are zeros for certain: none of their bytes is read. Says how many bytes have changed. */
  async #zeroRun(
    { first, count }: BlockRun,
    buffer: Buffer<ArrayBuffer>,
    signal: AbortSignal,
  ): Promise<number> {
    const { basis, image, sums } = this.#copy;
    const end = Math.min((first + count) * blockBytes, this.#sizeBytes);
    const lastLength = lengthOfBlock(first + count - 1, this.#sizeBytes);
    const whole = lastLength === blockBytes ? count : count - 1;
    const zeroDigest = await digestOfZeros(blockBytes);
    await sums.fill(first, whole, zeroDigest);
    if (whole < count) await sums.set(first + whole, await digestOfZeros(lastLength));
    if (basis.kind === 'whole') return 0;
    if (basis.kind === 'increment') {
      await image.writeZeroes(first * blockBytes, end - first * blockBytes, undefined, signal);
      return end - first * blockBytes;
    }
    let changed = 0;
    for (let block = first; block < first + count; block += digestsAtOnce) {
      signal.throwIfAborted();
      const blocks = Math.min(digestsAtOnce, first + count - block);
      const digests = await basis.parent.sums.digests(block, blocks);
      for (let index = 0; index < blocks; index++) {
        const digest = digests.subarray(index * digestBytes, (index + 1) * digestBytes);
        if (digest.equals(zeroDigest)) continue;
        const bytes = buffer.subarray(0, lengthOfBlock(block + index, this.#sizeBytes));
        bytes.fill(0);
        changed += await this.#compare(block + index, bytes, signal);
      }
    }
    return changed;
  }

  /** One block, of which at least a part is called changed. Says how many bytes have. */
  async #block(run: BlockRun, buffer: Buffer<ArrayBuffer>, signal: AbortSignal): Promise<number> {
    const { basis, sums } = this.#copy;
    const block = run.first;
    const bytes = buffer.subarray(0, lengthOfBlock(block, this.#sizeBytes));
    await this.#fill(run, bytes, signal);
    const digest = await digestOf(bytes);
    await sums.set(block, digest);
    if (basis.kind === 'comparison') {
      const before = await basis.parent.sums.digests(block, 1);
      return before.equals(digest) ? 0 : this.#compare(block, bytes, signal);
    }
    const begin = block * blockBytes;
    return this.#write(begin, bytes, dirtyClusters(run.dirty, begin, bytes.length), signal);
  }

  /** Reads a block as it is in the snapshot: from there, or what can't be read there because it is as before, from the parent. */
  async #fill({ first, dirty }: BlockRun, bytes: Buffer, signal: AbortSignal): Promise<void> {
    const { source, limited, basis, admit } = this.#copy;
    const begin = first * blockBytes;
    if (!limited || basis.kind === 'whole') {
      await admit(bytes.length, signal);
      await source.read(begin, bytes);
      return;
    }
    let at = begin;
    const end = begin + bytes.length;
    for (const { offset, length } of [...dirty, { offset: end, length: 0 }]) {
      if (offset > at) await basis.parent.read(at, bytes.subarray(at - begin, offset - begin), signal);
      await admit(length, signal);
      await source.read(offset, bytes.subarray(offset - begin, offset - begin + length));
      at = offset + length;
    }
  }

  /** Writes the clusters of a block that are not as in the parent. */
  async #compare(block: number, bytes: Buffer, signal: AbortSignal): Promise<number> {
    const { basis } = this.#copy;
    if (basis.kind === 'whole') return 0;
    const begin = block * blockBytes;
    const before = Buffer.allocUnsafe(bytes.length);
    await basis.parent.read(begin, before, signal);
    const differs: boolean[] = [];
    for (let at = 0; at < bytes.length; at += clusterBytes) {
      const end = Math.min(at + clusterBytes, bytes.length);
      differs.push(before.compare(bytes, at, end, at, end) !== 0);
    }
    return this.#write(begin, bytes, differs, signal);
  }

  /** Writes some clusters of a block. Says how many bytes they are. */
  #write(begin: number, bytes: Buffer, wanted: readonly boolean[], signal: AbortSignal): Promise<number> {
    const { image, basis } = this.#copy;
    return writeClusters({ image, alone: basis.kind === 'whole' }, begin, bytes, wanted, signal);
  }
}

/** Which clusters of a block a dirty range touches. */
function dirtyClusters(dirty: readonly ByteRange[], begin: number, length: number): boolean[] {
  const clusters = new Array<boolean>(Math.ceil(length / clusterBytes)).fill(false);
  for (const range of dirty) {
    const first = Math.floor((range.offset - begin) / clusterBytes);
    const last = Math.floor((range.offset - begin + range.length - 1) / clusterBytes);
    clusters.fill(true, first, last + 1);
  }
  return clusters;
}
