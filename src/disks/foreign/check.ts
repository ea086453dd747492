import { StillError } from '../../errors.js';
import type { Disk } from '../disk.js';

/** What a look at an image that may be read has shown. */
export interface Checked {
  /** Whether QEMU looks for something at the end of the file, or reads past it: it has to see the true size then. */
  readonly needsTrueEnd: boolean;
}

/** The bytes of a range of an image, as far as the image goes. */
export async function bytesOf(
  image: Disk,
  offset: number,
  length: number,
  signal?: AbortSignal,
): Promise<Buffer> {
  const bytes = Buffer.alloc(Math.max(0, Math.min(length, image.size - offset)));
  if (bytes.length > 0) await image.read(offset, bytes, signal);
  return bytes;
}

/** The error for an image that is not handed to QEMU, and why. */
export function refused(subject: string, why: string): StillError {
  return new StillError(
    'EIO',
    `${subject} is not read: ${why}; make it one plain file with qemu-img convert -O qcow2`,
  );
}
