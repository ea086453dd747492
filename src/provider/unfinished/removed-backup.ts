import { randomBytes } from 'node:crypto';
import { readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { syncFolder } from '../../durable-file.js';
import type { Narration } from '../job/narration.js';
import { removeTree } from './remove-tree.js';

const folderPattern = /^\.removed-[0-9a-f]{12}$/;

/** Removes a backup. It is gone as a whole, for good, before the first of its files is. */
export async function removeBackup(guestFolder: string, backup: string): Promise<void> {
  const removed = join(guestFolder, `.removed-${randomBytes(6).toString('hex')}`);
  await rename(join(guestFolder, backup), removed);
  await syncFolder(guestFolder);
  await removeTree(removed);
}

/** Removes what is left of removed backups. Only for who has the guest's lock exclusively. */
export async function clearRemoved(guestFolder: string, log: Narration): Promise<void> {
  for (const name of (await readdir(guestFolder)).filter((each) => folderPattern.test(each))) {
    const folder = join(guestFolder, name);
    await removeTree(folder);
    log.info({ folder }, 'removed what was left of a pruned backup');
  }
}
