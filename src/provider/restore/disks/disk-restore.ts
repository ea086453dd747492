import { blockRuns } from '../../disks/block-runs.js';
import { allDirty } from '../../disks/dirty-rows.js';
import { inLanes } from '../../disks/lanes.js';
import { blockBytes } from '../../sums/sums-format.js';
import type { DiskTarget } from './disk-target.js';
import type { VerifiedDisk } from './verified-disk.js';

/** How many blocks of a disk are under way at once. */
const lanes = 8;
/** Zeros are looked for in pieces of so many bytes: a cluster of most images. */
const clusterBytes = 65_536;
const zeros = Buffer.alloc(clusterBytes);

export interface DiskRestore {
  readonly source: VerifiedDisk;
  readonly target: DiskTarget;
  /** Waits until so many bytes may be read. */
  readonly admit: (bytes: number, signal: AbortSignal) => Promise<void>;
  /** So many more bytes of the disk are dealt with. */
  readonly progress: (bytes: number) => void;
}

/** Writes a stored disk to a target and brings it onto the disk there. Each block is compared with its checksum before it is written. */
export async function restoreDisk(
  { source, target, admit, progress }: DiskRestore,
  signal: AbortSignal,
): Promise<void> {
  const { sizeBytes } = source;
  const holes = {
    nextData: (offset: number) => source.nextData(offset, signal),
    nextHole: (offset: number) => source.nextHole(offset, signal),
  };
  await inLanes(blockRuns(allDirty(sizeBytes), sizeBytes, holes), lanes, () => async (run) => {
    signal.throwIfAborted();
    const offset = run.first * blockBytes;
    const length = Math.min(run.count * blockBytes, sizeBytes - offset);
    if (run.zero) {
      await source.zeros(run.first, run.count, signal);
      await target.zero(offset, length, signal);
    } else {
      await admit(length, signal);
      await writeBlock(target, offset, await source.block(run.first, signal), signal);
    }
    progress(length);
  });
  await target.settle(signal);
}

/** Writes the bytes of a block, and tells of its zeros. */
async function writeBlock(
  target: DiskTarget,
  offset: number,
  bytes: Buffer,
  signal: AbortSignal,
): Promise<void> {
  const isZero = (at: number): boolean => {
    const piece = bytes.subarray(at, at + clusterBytes);
    return piece.equals(zeros.subarray(0, piece.length));
  };
  for (let from = 0; from < bytes.length; ) {
    const zero = isZero(from);
    let to = from + clusterBytes;
    while (to < bytes.length && isZero(to) === zero) to += clusterBytes;
    to = Math.min(to, bytes.length);
    if (zero) await target.zero(offset + from, to - from, signal);
    else await target.write(offset + from, bytes.subarray(from, to), signal);
    from = to;
  }
}
