import { open } from 'node:fs/promises';
import type { Disk } from '../../../../src/disks/disk.js';

/** A file as a disk: what a store gives to whoever opens an archive. */
export async function fileDisk(path: string): Promise<Disk> {
  const file = await open(path);
  const { size } = await file.stat();
  return {
    size,
    async read(offset, target, signal) {
      signal?.throwIfAborted();
      const { bytesRead } = await file.read(target, 0, target.length, offset);
      if (bytesRead !== target.length) throw new Error(`${path} ends at ${offset + bytesRead}`);
    },
    extents: async (offset, length) => [{ offset, length, zero: false, dirty: true }],
    close: () => file.close(),
  };
}

/** Bytes as a disk. */
export function bytesDisk(bytes: Uint8Array): Disk {
  return {
    size: bytes.length,
    async read(offset, target, signal) {
      signal?.throwIfAborted();
      if (offset + target.length > bytes.length)
        throw new RangeError(`${offset}+${target.length} is beyond the end`);
      target.set(bytes.subarray(offset, offset + target.length));
    },
    extents: async (offset, length) => [{ offset, length, zero: false, dirty: true }],
    close: async () => undefined,
  };
}
