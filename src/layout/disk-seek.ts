import { extentsOf } from '../disks/dirty-map/ranges.js';
import type { Disk } from '../disks/disk.js';
import { StillError } from '../errors.js';
import type { Extent } from '../extents.js';

/** Whoever seeks goes through a file step by step: the next step is near, where there are many. */
const nearBytes = 4 * 2 ** 20;

/** lseek(2) with SEEK_DATA or SEEK_HOLE, for an offset on the disk; `isData` says which extents are data. */
export async function seekDisk(
  disk: Disk,
  offset: number,
  wanted: 'data' | 'hole',
  isData: (extent: Extent) => boolean,
  signal: AbortSignal,
): Promise<number> {
  for await (const extents of extentsOf(disk, offset, disk.size, signal, nearBytes)) {
    const found = extents.find((extent) => extent.length > 0 && isData(extent) === (wanted === 'data'));
    if (found) return found.offset;
  }
  if (wanted === 'hole') return disk.size; // the end of a file is a hole
  throw new StillError('ENXIO', `no data at or after ${offset}`);
}
