import { join } from 'node:path';
import type { StoreFolder } from '../../disks/store-folder.js';
import { messageOf } from '../../errors.js';
import { nameFromText } from '../../name.js';
import { type BackupDescription, backupJson, readBackupJson } from '../../stores/directory/backup-json.js';
import { type BackupPart, partsOf } from '../../stores/directory/backup-part.js';
import { type DiskPart, disksAmong } from '../../stores/directory/stored-disks.js';
import { inFolder } from '../../stores/directory/stored-entry.js';
import { readDescription } from './stored-backups.js';

/** What a backup's folder holds, as the store shows it, and what the backup says of itself. */
export interface BackupContent {
  readonly parts: readonly BackupPart[];
  readonly disks: readonly DiskPart[];
  /** Undefined where there is none, or it can't be understood. */
  readonly description: BackupDescription | undefined;
  /** What is wrong, one sentence each. */
  readonly problems: readonly string[];
}

/** Lists a backup and reads its `backup.json`; opens nothing else. ENOENT: there is no such backup. */
export async function readContent(
  store: StoreFolder,
  guest: string,
  backup: string,
  signal: AbortSignal,
): Promise<BackupContent> {
  const path = nameFromText(`${guest}/${backup}`);
  const parts = await partsOf(store, path, signal);
  let description: BackupDescription | undefined;
  const problems: string[] = [];
  try {
    description = await readDescription(join(store.path, guest), backup);
  } catch (error) {
    signal.throwIfAborted();
    problems.push(messageOf(error));
  }
  const declared = description
    ? await readBackupJson(store, inFolder(path, backupJson), signal)
    : { disks: [], problems: [] };
  const { disks, problems: found } = disksAmong(parts, declared);
  return { parts, disks, description, problems: [...problems, ...declared.problems, ...found] };
}
