import { extentsOf } from '../disks/dirty-map/ranges.js';
import type { DiskSurvey } from '../disks/dirty-map/survey.js';
import type { Disk } from '../disks/disk.js';
import { DiskNode } from './disk-node.js';
import { seekDisk } from './disk-seek.js';
import type { OpenFile } from './node.js';

/** `<disk>.changed`: the dirty ranges of a disk alone. They are data even where they are zeros; all else is a hole. */
export class ChangedFile extends DiskNode {
  async open(signal: AbortSignal): Promise<OpenFile> {
    const { value: disk, release } = await this.borrow(signal);
    return {
      cache: this.cache,
      size: disk.size,
      read: (offset, target, reading) => readDirty(disk, offset, target, reading),
      seek: (offset, wanted, seeking) => seekDisk(disk, offset, wanted, (extent) => extent.dirty, seeking),
      release,
    };
  }

  protected override sizes({ size, dirty }: DiskSurvey): { size: number; allocated: number } {
    return { size, allocated: dirty };
  }
}

async function readDirty(
  disk: Disk,
  offset: number,
  target: Uint8Array,
  signal: AbortSignal,
): Promise<number> {
  const end = Math.min(offset + target.length, disk.size);
  if (end <= offset) return 0;
  // Dirty neighbours are read at once.
  let from = offset;
  let to = offset;
  const readPending = async (): Promise<void> => {
    if (to > from) await disk.read(from, target.subarray(from - offset, to - offset), signal);
  };
  for await (const extents of extentsOf(disk, offset, end, signal)) {
    for (const extent of extents) {
      if (extent.dirty && !extent.zero) {
        if (extent.offset !== to) {
          await readPending();
          from = extent.offset;
        }
        to = extent.offset + extent.length;
      } else {
        target.fill(0, extent.offset - offset, extent.offset + extent.length - offset);
      }
    }
  }
  await readPending();
  return end - offset;
}
