import { join } from 'node:path';
import type { StoreFolder } from '../../disks/store-folder.js';
import { messageOf } from '../../errors.js';
import { type Name, nameFromText, nameToText } from '../../name.js';
import {
  type BackupDescription,
  backupJson,
  type Declared,
  readBackupJson,
} from '../../stores/directory/backup-json.js';
import { partsOf } from '../../stores/directory/backup-part.js';
import { type DiskPart, disksAmong } from '../../stores/directory/stored-disks.js';
import { inFolder } from '../../stores/directory/stored-entry.js';
import { rootfsAmong, type StoredRootfs } from '../../stores/directory/stored-rootfs.js';
import { guestFiles } from '../stored/guest-files.js';
import { readDescription } from '../stored/stored-backups.js';
import type { Damage } from './damage.js';

/** What a backup consists of, as far as it can be restored. */
export interface StoredContent {
  /** The backup's folder within the store. */
  readonly path: Name;
  readonly disks: readonly DiskPart[];
  readonly rootfs: StoredRootfs;
  /** Names of the guest's own files. */
  readonly files: readonly string[];
  /** What the backup says of itself; empty where it says nothing. */
  readonly description: BackupDescription;
}

/** Looks at a backup; opens none of its parts. EIO: its `backup.json` is damaged. */
export async function contentOf(
  store: StoreFolder,
  guest: string,
  backup: string,
  damage: Damage,
  signal: AbortSignal,
): Promise<StoredContent> {
  const path = inFolder(nameFromText(guest), nameFromText(backup));
  const parts = await partsOf(store, path, signal);
  const isFile = (name: string): boolean =>
    parts.some((part) => part.path === nameFromText(name) && part.type === 'file');
  let description: BackupDescription = {};
  let declared: Declared = { disks: [], problems: [] };
  if (isFile(backupJson)) {
    try {
      description = (await readDescription(join(store.path, guest), backup)) ?? {};
    } catch (error) {
      damage.found(messageOf(error));
    }
    declared = await readBackupJson(store, inFolder(path, backupJson), signal);
  }
  return {
    path,
    disks: disksAmong(parts, declared).disks,
    rootfs: rootfsAmong(parts),
    files: guestFiles.filter(isFile),
    description,
  };
}

export function namesOf(disks: readonly DiskPart[]): string {
  return disks.map(({ name }) => nameToText(name)).join(', ') || 'none';
}
