import { hasCode, StillError } from '../../errors.js';
import { nameFromText } from '../../name.js';
import { backupReference } from '../../stores/directory/backup-folder-name.js';
import { backupFolders } from './stored-backups.js';

/**
 * The folder of the backup that a person calls `latest`, or by its time in any form that a backup's folder can have
 * (`20241113T095719Z`, `2024-11-13T09:57:19Z`, `qemu-1731491839`). ENOENT: the guest has none of that time, or none at all.
 */
export async function backupNamed(guestFolder: string, wanted: string): Promise<string> {
  const folders = await backupsOf(guestFolder);
  const latest = folders.at(-1);
  if (latest === undefined) throw new StillError('ENOENT', `${guestFolder} holds no backup`);
  if (wanted === 'latest') return latest;
  const seconds = secondsOf(wanted);
  const found =
    folders.find((folder) => folder === wanted) ?? folders.find((each) => secondsOf(each) === seconds);
  if (found !== undefined && seconds !== undefined) return found;
  throw new StillError('ENOENT', `${guestFolder} holds no backup ${wanted}; the latest is ${latest}`);
}

/** The names of a guest's backups, oldest first. ENOENT: the store has no such guest. */
export async function backupsOf(guestFolder: string): Promise<string[]> {
  try {
    return await backupFolders(guestFolder);
  } catch (error) {
    if (hasCode(error, 'ENOENT') || hasCode(error, 'ENOTDIR'))
      throw new StillError('ENOENT', `there is no ${guestFolder}: the store has no such guest`);
    throw error;
  }
}

function secondsOf(folder: string): number | undefined {
  return backupReference(nameFromText(folder))?.time.seconds;
}
