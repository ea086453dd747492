import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { StoreFolder } from '../../disks/store-folder.js';
import { syncFolder, writeDurably } from '../../durable-file.js';
import { StillError } from '../../errors.js';
import { nameFromText } from '../../name.js';
import { mostNoteBytes, noteFile, protectedFile, readMarks } from '../../stores/directory/backup-marks.js';
import type { BackupMarks } from '../../stores/store.js';
import { lockGuest } from '../lock/guest-lock.js';
import { backupNamed } from '../stored/named-backup.js';

/** A backup, as a person names it. */
export interface NamedBackup {
  readonly store: StoreFolder;
  readonly guest: string;
  readonly time: string;
}

/** What is to be said of it; what is left out stays. An empty note is none. */
export interface NewMarks {
  readonly isProtected?: boolean;
  readonly note?: string;
}

/** Reads what was said of a backup. ENOENT: there is no such backup. */
export async function marksOf(
  { store, guest, time }: NamedBackup,
  signal: AbortSignal,
): Promise<BackupMarks> {
  const backup = await backupNamed(join(store.path, guest), time);
  return readMarks(store, nameFromText(`${guest}/${backup}`), signal);
}

/**
 * Says something of a backup, for good when this is back. Gives its folder's name. ENOENT: there is no such backup. EBUSY: its guest is
 * in use. EMSGSIZE: the note is too long.
 */
export async function markBackup(
  { store, guest, time }: NamedBackup,
  { isProtected, note }: NewMarks,
  { purpose, waitSeconds }: { readonly purpose: string; readonly waitSeconds: number },
  signal: AbortSignal,
): Promise<string> {
  const guestFolder = join(store.path, guest);
  await backupNamed(guestFolder, time);
  const lock = await lockGuest(guestFolder, { how: 'exclusive', purpose, waitSeconds }, signal);
  try {
    const backup = await backupNamed(guestFolder, time);
    const folder = join(guestFolder, backup);
    if (isProtected !== undefined) await put(folder, protectedFile, isProtected ? '' : undefined);
    if (note !== undefined) await put(folder, noteFile, note === '' ? undefined : noteText(note));
    return backup;
  } finally {
    await lock.release();
  }
}

function noteText(note: string): string {
  const text = `${note.trimEnd()}\n`;
  const bytes = Buffer.byteLength(text);
  if (bytes <= mostNoteBytes) return text;
  throw new StillError('EMSGSIZE', `a note of ${bytes} bytes is too long; ${mostNoteBytes} are the most`);
}

/** Undefined: the file is removed. */
async function put(folder: string, name: string, content: string | undefined): Promise<void> {
  const path = join(folder, name);
  if (content !== undefined) return writeDurably(path, content, { beside: join(folder, `.${name}.new`) });
  await rm(path, { force: true });
  await syncFolder(folder);
}
