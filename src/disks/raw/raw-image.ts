import { StillError } from '../../errors.js';
import type { Extent } from '../../extents.js';
import type { Name } from '../../name.js';
import type { Disk } from '../disk.js';
import { mustLieWithin } from '../disk-range.js';
import { ImageFile } from '../image-file.js';
import type { StoreFolder } from '../store-folder.js';
import { fileExtents } from './file-extents.js';

/**
 * Opens a file whose bytes are the disk's. Its content is never looked at: a guest can write any header into its disk.
 * It has no parent, so all of it is dirty; its holes are zeros.
 */
export async function openRawImage(folder: StoreFolder, path: Name, signal?: AbortSignal): Promise<Disk> {
  return new RawImage(await ImageFile.open(folder, path, signal));
}

class RawImage implements Disk {
  readonly size: number;
  readonly passthrough: number;
  readonly #file: ImageFile;

  constructor(file: ImageFile) {
    this.#file = file;
    this.size = file.size;
    this.passthrough = file.descriptor;
  }

  async read(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    mustLieWithin(this, this.#file.path, offset, target.length);
    const count = await this.#file.read(offset, target, signal);
    if (count < target.length)
      throw new StillError(
        'EIO',
        `${this.#file.path} ends at ${offset + count}: it was cut short from ${this.size} bytes while open`,
      );
  }

  async extents(offset: number, length: number, signal?: AbortSignal): Promise<Extent[]> {
    signal?.throwIfAborted();
    mustLieWithin(this, this.#file.path, offset, length);
    const found = await fileExtents(this.#file, offset, length, signal);
    return found.map((range) => ({ ...range, dirty: true }));
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}
