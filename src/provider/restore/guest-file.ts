import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { openRawImage } from '../../disks/raw/raw-image.js';
import type { StoreFolder } from '../../disks/store-folder.js';
import { type Name, nameFromText } from '../../name.js';
import { inFolder } from '../../stores/directory/stored-entry.js';
import { blockCount } from '../sums/sums-format.js';
import type { Damage } from './damage.js';
import { VerifiedDisk } from './disks/verified-disk.js';
import { FilePlace } from './place.js';
import type { RestoredPart } from './restored-part.js';
import { openSums } from './stored-sums.js';

/** A small file of a backup, and the folder that it is restored to. */
export interface GuestFile {
  readonly store: StoreFolder;
  /** The backup's folder within the store. */
  readonly backup: Name;
  readonly name: string;
  readonly folder: string;
  readonly overwrite: boolean;
}

/** Restores a guest's configuration file, beside its place for now. Says whether it was compared with its checksum. */
export async function restoreGuestFile(
  { store, backup, name, folder, overwrite }: GuestFile,
  damage: Damage,
  signal: AbortSignal,
): Promise<{ restored: RestoredPart; verified: boolean }> {
  const place = await FilePlace.find(join(folder, name), overwrite);
  let verified = false;
  const stored = await openRawImage(store, inFolder(backup, nameFromText(name)), signal);
  try {
    const sums = await openSums(
      join(store.path, backup),
      { file: name, sizeBytes: stored.size },
      damage,
      signal,
    );
    verified = sums !== undefined;
    try {
      const source = new VerifiedDisk(name, stored, sums, damage);
      const file = await open(place.beside, 'wx', 0o600);
      try {
        for (let block = 0; block < blockCount(stored.size); block++)
          await file.appendFile(await source.block(block, signal));
        await file.sync();
      } finally {
        await file.close();
      }
    } finally {
      await sums?.close();
    }
  } catch (error) {
    await place.leave();
    throw error;
  } finally {
    await stored.close();
  }
  const restored = { path: place.path, commit: () => place.take(), discard: () => place.leave() };
  return { restored, verified };
}
