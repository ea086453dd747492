import type { Disk } from '../../disks/disk.js';
import { blockKinds } from '../disks/block-kinds.js';
import { type ClusterTarget, clusterBytes, writeClusters } from '../disks/cluster-writes.js';
import { inLanes } from '../disks/lanes.js';
import { blockBytes } from '../sums/sums-format.js';

/** How many pieces of a disk are under way at once. */
const lanes = 4;

/** A disk whose own images become one. */
export interface DiskMerge extends ClusterTarget {
  /** Its dirty extents are those of all the images that become one. */
  readonly disk: Disk;
  /** The size of what the new image is based on, in bytes; 0 where it stands alone. Beyond it zeros are not to be said. */
  readonly basisBytes: number;
  /** So far has it come, in bytes of the disk. */
  readonly progress: (offset: number) => void;
}

interface Piece {
  readonly offset: number;
  readonly length: number;
  readonly zero: boolean;
}

/** Writes into a new image what a disk has of its own: whole clusters of data, and zeros where its basis would show. */
export async function mergeDisk(merge: DiskMerge, signal: AbortSignal): Promise<void> {
  const { disk, image, progress } = merge;
  await inLanes(pieces(merge, signal), lanes, () => {
    const buffer = Buffer.allocUnsafeSlow(blockBytes);
    return async ({ offset, length, zero }) => {
      signal.throwIfAborted();
      if (zero) {
        await image.writeZeroes(offset, length, undefined, signal);
      } else {
        const bytes = buffer.subarray(0, length);
        await disk.read(offset, bytes, signal);
        const all = new Array<boolean>(Math.ceil(length / clusterBytes)).fill(true);
        await writeClusters(merge, offset, bytes, all, signal);
      }
      progress(offset + length);
    };
  });
}

async function* pieces(
  { disk, basisBytes }: DiskMerge,
  signal: AbortSignal,
): AsyncGenerator<Piece, void, undefined> {
  const shown = Math.ceil(basisBytes / clusterBytes) * clusterBytes;
  for await (const { first, count, zero, inherited } of blockKinds(disk, clusterBytes, signal)) {
    if (inherited) continue;
    const begin = first * clusterBytes;
    const end = Math.min(begin + count * clusterBytes, disk.size);
    if (zero) {
      const length = Math.min(end, shown) - begin;
      if (length > 0) yield { offset: begin, length, zero };
    } else {
      for (let offset = begin; offset < end; offset += blockBytes)
        yield { offset, length: Math.min(blockBytes, end - offset), zero };
    }
  }
}
