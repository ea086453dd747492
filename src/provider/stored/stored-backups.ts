import { constants } from 'node:fs';
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, StillError } from '../../errors.js';
import { nameFromText } from '../../name.js';
import { backupReference, byTime } from '../../stores/directory/backup-folder-name.js';
import {
  type BackupDescription,
  backupJson,
  parseBackupDescription,
} from '../../stores/directory/backup-json.js';

/** A `backup.json` of more bytes is not read. */
const mostBytes = 2 ** 20;

/** The names of a guest's backups in a store, oldest first. Reads one folder. ENOENT: the guest has none. */
export async function backupFolders(guestFolder: string): Promise<string[]> {
  const entries = await readdir(guestFolder, { withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory())
    .flatMap(({ name }) => backupReference(nameFromText(name)) ?? [])
    .sort(byTime)
    .map(({ folder }) => folder);
}

/** What a backup says of itself; undefined where it says nothing. EIO: its `backup.json` is damaged. */
export async function readDescription(
  guestFolder: string,
  backup: string,
): Promise<BackupDescription | undefined> {
  const path = join(guestFolder, backup, backupJson);
  let text: string;
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const stats = await file.stat();
      if (!stats.isFile()) throw new StillError('EIO', `${path} is not a regular file`);
      if (stats.size > mostBytes)
        throw new StillError(
          'EIO',
          `${path} has ${stats.size} bytes, more than the ${mostBytes} that are read`,
        );
      text = await file.readFile('utf8');
    } finally {
      await file.close();
    }
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
  return parseBackupDescription(text, path);
}

/** A backup and what it says of itself. */
export interface DescribedBackup {
  readonly folder: string;
  readonly description: BackupDescription;
}

/** The backups of a guest, newest first, read one by one as they are asked for. `passedOver` hears of those that say nothing, and why. */
export async function* newestFirst(
  guestFolder: string,
  passedOver: (folder: string, why: unknown) => void = () => undefined,
): AsyncGenerator<DescribedBackup, void, undefined> {
  for (const folder of (await backupFolders(guestFolder)).reverse()) {
    try {
      const description = await readDescription(guestFolder, folder);
      if (description) yield { folder, description };
      else passedOver(folder, undefined);
    } catch (error) {
      passedOver(folder, error);
    }
  }
}

/** The name of the folder of a backup of that instant: `20241113T095719Z`, a second later where one has that name already. */
export async function freeFolderName(guestFolder: string, instant: Date): Promise<string> {
  const taken = new Set(await readdir(guestFolder));
  for (let seconds = Math.floor(instant.getTime() / 1000); ; seconds++) {
    const name = new Date(seconds * 1000).toISOString().replace(/[-:]|\.000/g, '');
    if (!taken.has(name)) return name;
  }
}
