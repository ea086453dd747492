import { StillError } from '../../errors.js';
import type { Disk } from '../disk.js';

/** Beyond anything that an image's tables can point to, and whole sectors. */
const beyondAll = 2 ** 53 - 2 ** 20;

/**
 * An image as if it went on without end, where reading on is EIO. QEMU takes what lies beyond the end of a file for
 * zeros: an image that was cut off, or whose tables point anywhere, would silently be a disk of other bytes.
 */
export function unending(image: Disk, subject: string): Disk {
  return {
    size: beyondAll,
    read: async (offset, target, signal) => {
      // No data lies at the first byte: QEMU looks there for what kind of image it is, as far as a MiB in a smaller file.
      const there = offset === 0 ? Math.min(target.byteLength, image.size) : target.byteLength;
      if (offset + there > image.size) {
        throw new StillError(
          'EIO',
          `${subject} is damaged: it ends at ${image.size}, and bytes at ${Math.max(offset, image.size)} belong to it`,
        );
      }
      await image.read(offset, target.subarray(0, there), signal);
      target.fill(0, there);
    },
    extents: async (offset, length) => [{ offset, length, zero: false, dirty: true }],
    close: () => image.close(),
  };
}
