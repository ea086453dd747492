import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Disk } from '../../../disks/disk.js';
import type { StoreFolder } from '../../../disks/store-folder.js';
import { codeOf, hasCode, messageOf, StillError } from '../../../errors.js';
import { nameToText } from '../../../name.js';
import { openImage } from '../../../stores/directory/disk-format.js';
import type { DiskPart } from '../../../stores/directory/stored-disks.js';
import { inFolder } from '../../../stores/directory/stored-entry.js';
import type { SumsFile } from '../../sums/sums-file.js';
import type { Damage } from '../damage.js';
import { FilePlace } from '../place.js';
import type { StoredContent } from '../stored-content.js';
import { openSums } from '../stored-sums.js';
import { openBlockDevice } from './block-device.js';
import type { DiskTarget } from './disk-target.js';
import { openQcow2File } from './qcow2-file.js';
import { openRawFile } from './raw-file.js';
import { VerifiedDisk } from './verified-disk.js';

export type ImageFormat = 'raw' | 'qcow2';

/** A disk of a backup, and where it is to be restored to. */
export interface DiskWish {
  readonly disk: DiskPart;
  /** A file, or a block device. */
  readonly target: string;
  /** Of a file; undefined: as its name ends. */
  readonly format: ImageFormat | undefined;
  readonly overwrite: boolean;
}

/** A disk of a backup and its target, both open; nothing is written yet. */
export interface OpenedDisk {
  readonly name: string;
  readonly source: VerifiedDisk;
  readonly hasSums: boolean;
  readonly target: DiskTarget;
  /** Lets go of the backup's side. */
  close(): Promise<void>;
}

/**
 * Opens a stored disk, with its whole chain, and its target. Errors: what the target refuses, EIO where the backup is damaged. Undefined:
 * it can't be read at all, and that is ignored.
 */
export async function openGuestDisk(
  store: StoreFolder,
  content: StoredContent,
  { disk, target, format, overwrite }: DiskWish,
  damage: Damage,
  signal: AbortSignal,
): Promise<OpenedDisk | undefined> {
  const name = nameToText(disk.name);
  const image = await openStored(store, content, disk, damage, signal);
  if (!image) return undefined;
  let sums: SumsFile | undefined;
  const close = async (): Promise<void> => {
    await sums?.close();
    await image.close();
  };
  try {
    sums = await sumsOf(store, content, disk, image, damage, signal);
    const opened = await openTarget(target, image.size, format, overwrite, signal);
    const source = new VerifiedDisk(`${name} of ${nameToText(content.path)}`, image, sums, damage);
    return { name, source, hasSums: sums !== undefined, target: opened, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function openStored(
  store: StoreFolder,
  { path }: StoredContent,
  disk: DiskPart,
  damage: Damage,
  signal: AbortSignal,
): Promise<Disk | undefined> {
  try {
    return await openImage(store, inFolder(path, disk.path), disk.format, signal);
  } catch (error) {
    signal.throwIfAborted();
    const what = `${nameToText(disk.path)} of ${nameToText(path)} can't be read`;
    damage.failed(new StillError(codeOf(error), `${what}: ${messageOf(error)}`));
    return undefined;
  }
}

async function sumsOf(
  store: StoreFolder,
  { path, description }: StoredContent,
  disk: DiskPart,
  image: Disk,
  damage: Damage,
  signal: AbortSignal,
): Promise<SumsFile | undefined> {
  const described = description.disks?.[nameToText(disk.name)];
  const file = nameToText(disk.path);
  if (described?.size !== undefined && described.size !== image.size)
    damage.found(
      `${file} of ${nameToText(path)} has ${image.size} bytes, and backup.json says ${described.size}`,
    );
  if (!described?.sums) return undefined;
  const part = { file, sizeBytes: image.size, declared: described.sums };
  return openSums(join(store.path, nameToText(path)), part, damage, signal);
}

async function openTarget(
  target: string,
  sizeBytes: number,
  format: ImageFormat | undefined,
  overwrite: boolean,
  signal: AbortSignal,
): Promise<DiskTarget> {
  if (await isBlockDevice(target)) return openBlockDevice(target, sizeBytes, overwrite);
  const place = await FilePlace.find(target, overwrite);
  const chosen = format ?? (target.endsWith('.qcow2') ? 'qcow2' : 'raw');
  return chosen === 'qcow2' ? openQcow2File(place, sizeBytes, signal) : openRawFile(place, sizeBytes);
}

async function isBlockDevice(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isBlockDevice();
  } catch (error) {
    if (hasCode(error, 'ENOENT') || hasCode(error, 'ENOTDIR')) return false;
    throw error;
  }
}
