import { openRawImage } from '../../disks/raw/raw-image.js';
import type { StoreFolder } from '../../disks/store-folder.js';
import { hasCode } from '../../errors.js';
import type { Name } from '../../name.js';
import type { BackupMarks } from '../store.js';
import { inFolder, statBeneath } from './stored-entry.js';

/** An empty file in a backup's folder: while it is there, the backup is not pruned. */
export const protectedFile = 'protected' as Name;
/** A file in a backup's folder with what somebody wished to say of it. */
export const noteFile = 'note' as Name;

/** A note of more bytes is cut, in UTF-8. */
export const mostNoteBytes = 4096;

/** Reads what was said of a backup. Missing files say nothing; others that can't be read are errors. */
export async function readMarks(
  folder: StoreFolder,
  backup: Name,
  signal: AbortSignal,
): Promise<BackupMarks> {
  return {
    isProtected: (await ifThere(statBeneath(folder, inFolder(backup, protectedFile), signal))) !== undefined,
    note: await ifThere(noteOf(folder, inFolder(backup, noteFile), signal)),
  };
}

async function noteOf(folder: StoreFolder, path: Name, signal: AbortSignal): Promise<string> {
  const file = await openRawImage(folder, path, signal);
  try {
    const bytes = Buffer.alloc(Math.min(file.size, mostNoteBytes));
    await file.read(0, bytes, signal);
    return bytes.toString('utf8').trimEnd();
  } finally {
    await file.close();
  }
}

async function ifThere<Value>(look: Promise<Value>): Promise<Value | undefined> {
  try {
    return await look;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}
