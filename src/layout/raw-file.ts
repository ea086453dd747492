import type { DiskSurvey } from '../disks/dirty-map/survey.js';
import type { Disk } from '../disks/disk.js';
import { StillError } from '../errors.js';
import { nameToText } from '../name.js';
import { fileAttributes, shortly } from './context.js';
import { type DiskLoan, DiskNode } from './disk-node.js';
import { seekDisk } from './disk-seek.js';
import type { Loan } from './lending.js';
import type { NodeAttributes, OpenFile } from './node.js';

/** `<disk>.raw`: the whole disk. A hole in it is zeros on the disk, nothing else. */
export class RawFile extends DiskNode {
  /** Of a snapshot it can be given back, range by range. */
  get writable(): boolean {
    return this.owner.live;
  }

  override async attributes(signal: AbortSignal): Promise<NodeAttributes> {
    if (!this.owner.live) return super.attributes(signal);
    const sizes = this.sizes(await this.survey(signal, { allocated: true }));
    const modified = this.owner.time;
    return fileAttributes(this.context, { ...sizes, permissions: 0o600, modified, freshSeconds: shortly });
  }

  async open(signal: AbortSignal): Promise<OpenFile> {
    const loan = await this.borrow(signal);
    const file = openDisk(loan, this.cache);
    return this.owner.live ? { ...file, discard: (...range) => this.#discard(loan, ...range) } : file;
  }

  protected override sizes({ size, allocated }: DiskSurvey): { size: number; allocated: number } {
    return { size, allocated };
  }

  async #discard(
    { value, still, disk }: DiskLoan,
    offset: number,
    length: number,
    signal: AbortSignal,
  ): Promise<void> {
    if (!value.discard)
      throw new StillError('EOPNOTSUPP', `nothing of ${nameToText(this.path)} can be given back`);
    // Beyond the end there is nothing to punch, as in any file.
    const end = Math.min(offset + length, value.size);
    if (end <= offset) return;
    try {
      await value.discard(offset, end - offset, signal);
    } finally {
      this.context.disks.gaveBack(still, disk);
    }
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
