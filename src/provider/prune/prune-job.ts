import type { StoreFolder } from '../../disks/store-folder.js';
import { hasCode, messageOf } from '../../errors.js';
import { linkBackups } from '../stored/backup-links.js';
import type { StoredImage } from '../stored/based-on.js';
import { backupsOf } from '../stored/named-backup.js';
import { openStoreFolder, storedGuests } from '../stored/stored-guests.js';
import type { KeepRules } from './keep-rules.js';
import { GuestPruning, type PrunedBackup, type PruneListener } from './prune-guest.js';

export interface PruneJob {
  /** The store's folder. */
  readonly path: string;
  /** Undefined: all guests. */
  readonly guest?: string;
  readonly rules: KeepRules;
  readonly dryRun: boolean;
  readonly waitSeconds: number;
}

/** How the pruning of a guest went. */
export interface PruneResult {
  readonly guest: string;
  /** Oldest first. */
  readonly backups: readonly PrunedBackup[];
  readonly freedBytes: number;
  readonly seconds: number;
  /** Why it did not come to its end. */
  readonly error?: string;
  /** The guest was in use. */
  readonly busy?: boolean;
}

/** Prunes guests one after another; the failure of one does not stop the others. Rejects where the store can't be opened. */
export async function runPruneJob(
  { path, guest: only, ...wish }: PruneJob,
  listener: PruneListener & { ended(result: PruneResult): void },
  signal: AbortSignal,
): Promise<PruneResult[]> {
  const store = await openStoreFolder(path, signal);
  try {
    const builtOnElsewhere = await buildingAcrossGuests(store, signal);
    const results: PruneResult[] = [];
    for (const guest of only === undefined ? await storedGuests(store) : [only]) {
      const begun = performance.now();
      const pruning = new GuestPruning({ store, guest, builtOnElsewhere, ...wish }, listener);
      let failure: { error: string; busy: boolean } | undefined;
      try {
        signal.throwIfAborted();
        await pruning.run(signal);
      } catch (error) {
        const why = signal.aborted ? messageOf(signal.reason) : messageOf(error);
        failure = { error: why, busy: hasCode(error, 'EBUSY') };
      }
      const { outcomes: backups, freedBytes } = pruning;
      const seconds = Math.round((performance.now() - begun) / 100) / 10;
      const result = { guest, backups, freedBytes, seconds, ...failure };
      results.push(result);
      listener.ended(result);
    }
    return results;
  } finally {
    store.close();
  }
}

/** Backups that another guest's images are based on, as `GUEST/BACKUP`, and whose. We make none; others may have. */
async function buildingAcrossGuests(store: StoreFolder, signal: AbortSignal): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const guest of await storedGuests(store))
    for (const backup of await backupsOf(`${store.path}/${guest}`))
      for (const other of await basesOutside(store, guest, backup, signal))
        found.set(`${other.guest}/${other.backup}`, `${guest}/${backup}`);
  return found;
}

async function basesOutside(
  store: StoreFolder,
  guest: string,
  backup: string,
  signal: AbortSignal,
): Promise<StoredImage[]> {
  try {
    const [linked] = await linkBackups(store, guest, [backup], signal);
    return (linked?.disks ?? []).flatMap(({ basis }) => (basis && basis.guest !== guest ? [basis] : []));
  } catch (error) {
    // Guests that are not locked change meanwhile.
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}
