import { join } from 'node:path';
import type { Disk } from '../../disks/disk.js';
import { openQcow2Image } from '../../disks/qcow2/qcow2-image.js';
import type { StoreFolder } from '../../disks/store-folder.js';
import { StillError } from '../../errors.js';
import { nameFromText } from '../../name.js';
import type { DescribedDisk } from '../../stores/directory/backup-json.js';
import { SumsFile } from '../sums/sums-file.js';

/** A stored disk that an increment is written upon: its bytes through its whole chain, and its checksums. */
export class ParentDisk {
  private constructor(
    /** The name of its backup's folder. */
    readonly backup: string,
    /** Within its backup's folder. */
    readonly file: string,
    readonly sums: SumsFile,
    private readonly image: Disk,
  ) {}

  /** Opens one. Errors: it has no checksums, they are damaged, or its chain can't be read. */
  static async open(
    store: StoreFolder,
    guest: string,
    backup: string,
    { file, format, sums, size }: DescribedDisk,
    signal: AbortSignal,
  ): Promise<ParentDisk> {
    if (format !== 'qcow2' || sums === undefined)
      throw new StillError('EOPNOTSUPP', `${backup}/${file} is not qcow2 with checksums`);
    const summed = await SumsFile.open(join(store.path, guest, backup, sums), signal);
    try {
      const image = await openQcow2Image(store, nameFromText(`${guest}/${backup}/${file}`), signal);
      if (image.size === summed.sizeBytes && (size === undefined || size === image.size))
        return new ParentDisk(backup, file, summed, image);
      await image.close();
      const sizes = [image.size, summed.sizeBytes, size].join(', ');
      throw new StillError(
        'EIO',
        `the image, the checksums and backup.json of ${backup}/${file} tell of other sizes: ${sizes}`,
      );
    } catch (error) {
      await summed.close();
      throw error;
    }
  }

  /** The disk's size in that backup, in bytes. */
  get sizeBytes(): number {
    return this.image.size;
  }

  /** The backing file of an image in another backup of the same guest. */
  get backingFile(): string {
    return `../${this.backup}/${this.file}`;
  }

  /** Fills a target from an offset on; beyond the disk's end, as an overlay sees it, are zeros. */
  async read(offset: number, target: Uint8Array, signal: AbortSignal): Promise<void> {
    const there = Math.max(0, Math.min(target.length, this.sizeBytes - offset));
    if (there > 0) await this.image.read(offset, target.subarray(0, there), signal);
    target.fill(0, there);
  }

  async close(): Promise<void> {
    await this.image.close();
    await this.sums.close();
  }
}
