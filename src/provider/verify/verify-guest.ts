import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { StoreFolder } from '../../disks/store-folder.js';
import type { PartProgress } from '../job/part-progress.js';
import { lockGuest } from '../lock/guest-lock.js';
import { dependentsOf, linkBackups } from '../stored/backup-links.js';
import { backupNamed, backupsOf } from '../stored/named-backup.js';
import type { BackupVerdict } from './verdict.js';
import { type VerifiedDisks, verifyBackup } from './verify-backup.js';

/** What interrupted work leaves has such a name. */
const leftover = /^\.(?:backup|merge|removed)-/;

/** Who is told how a verification goes; backups are called `GUEST/TIME`. */
export interface VerifyListener {
  begun(backup: string): void;
  progress(backup: string, progress: PartProgress): void;
  ended(verdict: BackupVerdict): void;
}

export interface GuestToVerify {
  readonly store: StoreFolder;
  readonly guest: string;
  /** One backup, as a person names it; undefined: all. */
  readonly time?: string;
  /** How long to wait for the guest's lock. */
  readonly waitSeconds: number;
}

/**
 * Verifies a guest's backups, oldest first, or one of them. Of all of them together each stored byte is read once; of one alone, its
 * disks are read through all that they build on. ENOENT: there is no such guest or backup. EBUSY: it is being changed.
 */
export async function verifyGuest(
  { store, guest, time, waitSeconds }: GuestToVerify,
  listener: VerifyListener,
  signal: AbortSignal,
): Promise<{ readonly backups: readonly BackupVerdict[]; readonly leftovers: readonly string[] }> {
  const guestFolder = join(store.path, guest);
  // Said before the lock is tried, which would only say that its file can't be opened.
  await backupsOf(guestFolder);
  const lock = await lockGuest(
    guestFolder,
    { how: 'shared', purpose: `verify of ${guest}`, waitSeconds },
    signal,
  );
  try {
    const all = await backupsOf(guestFolder);
    const wanted = time === undefined ? all : [await backupNamed(guestFolder, time)];
    const linked = await linkBackups(store, guest, all, signal);
    const verified: VerifiedDisks = new Map();
    const backups: BackupVerdict[] = [];
    for (const backup of wanted) {
      signal.throwIfAborted();
      const subject = `${guest}/${backup}`;
      listener.begun(subject);
      const what = {
        store,
        guest,
        backup,
        dependents: dependentsOf(linked, backup),
        verified,
        progress: (progress: PartProgress) => listener.progress(subject, progress),
      };
      const verdict = await verifyBackup(what, signal);
      backups.push(verdict);
      listener.ended(verdict);
    }
    const leftovers = (await readdir(guestFolder)).filter((name) => leftover.test(name)).sort();
    return { backups, leftovers };
  } finally {
    await lock.release();
  }
}
