import type { DiskSurvey } from '../disks/dirty-map/survey.js';
import type { Disk } from '../disks/disk.js';
import { DiskNode } from './disk-node.js';
import { seekDisk } from './disk-seek.js';
import type { Loan } from './lending.js';
import type { OpenFile } from './node.js';

/** `<disk>.raw`: the whole disk. A hole in it is zeros on the disk, nothing else. */
export class RawFile extends DiskNode {
  async open(signal: AbortSignal): Promise<OpenFile> {
    return openDisk(await this.borrow(signal), 'keep');
  }

  protected override sizes({ size, allocated }: DiskSurvey): { size: number; allocated: number } {
    return { size, allocated };
  }
}

/** A disk's bytes as an open file, from the first to the last. */
export function openDisk({ value: disk, release }: Loan<Disk>, cache: OpenFile['cache']): OpenFile {
  return {
    cache,
    size: disk.size,
    ...(disk.passthrough !== undefined && { passthrough: disk.passthrough }),
    async read(offset, target, signal) {
      const length = Math.min(target.length, disk.size - offset);
      if (length <= 0) return 0;
      await disk.read(offset, length === target.length ? target : target.subarray(0, length), signal);
      return length;
    },
    seek: (offset, wanted, signal) => seekDisk(disk, offset, wanted, (extent) => !extent.zero, signal),
    release,
  };
}
