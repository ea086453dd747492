import { posix } from 'node:path';
import { backingImage } from '../../disks/qcow2/backing-path.js';
import { readImageHeader } from '../../disks/qcow2/chain.js';
import type { StoreFolder } from '../../disks/store-folder.js';
import { nameFromText, nameToText } from '../../name.js';

/** A file of a stored backup. */
export interface StoredImage {
  readonly guest: string;
  readonly backup: string;
  /** Within the backup's folder. */
  readonly file: string;
}

export interface ImageBasis {
  /** The disk's size in bytes. */
  readonly sizeBytes: number;
  /** The image that it is based on; undefined where it stands alone. */
  readonly image?: StoredImage;
}

/**
 * What a stored qcow2 image is based on, by its own header, which is what counts when it is read. Errors: the header is damaged or
 * not read here, or names what can't be followed.
 */
export async function imageBasis(
  store: StoreFolder,
  { guest, backup, file }: StoredImage,
  signal: AbortSignal,
): Promise<ImageBasis> {
  const path = nameFromText(`${guest}/${backup}/${file}`);
  const { size, backing } = await readImageHeader(store, path, signal);
  if (!backing) return { sizeBytes: size };
  const below = posix.normalize(nameToText(backingImage(store, path, backing).path));
  const [inGuest = '', inBackup = '', ...rest] = below.split('/');
  return { sizeBytes: size, image: { guest: inGuest, backup: inBackup, file: rest.join('/') } };
}
