import type { StoreFolder } from '../../disks/store-folder.js';
import { hasCode, messageOf } from '../../errors.js';
import type { BackupDescription } from '../../stores/directory/backup-json.js';
import type { ContainerWish } from '../container/store-container.js';
import { Bandwidth } from '../job/bandwidth.js';
import { type HookCommands, type HookFacts, Hooks } from '../job/hooks.js';
import type { Narration } from '../job/narration.js';
import type { PartProgress } from '../job/part-progress.js';
import { openStoreFolder } from '../stored/stored-guests.js';
import { backupGuest } from './backup-guest.js';

/** Guests that are to be backed up into one store. */
export interface BackupJob {
  readonly guests: readonly { readonly guest: string; readonly mount: string }[];
  readonly store: { readonly name: string; readonly path: string };
  /** Null: full backups, which touch no chain. */
  readonly chain: string | null;
  readonly disks?: readonly string[];
  /** How containers are stored. */
  readonly container: ContainerWish;
  /** How many guests are backed up at a time. */
  readonly atOnce: number;
  readonly bytesPerSecond?: number;
  readonly waitSeconds: number;
  readonly hooks: HookCommands;
  /** Who makes the backups, with its version. */
  readonly tool: string;
}

/** How the backup of a guest went. */
export interface GuestResult {
  readonly guest: string;
  readonly seconds: number;
  /** The name of the backup's folder, and what it says of itself; undefined where there is none. */
  readonly backup?: string;
  readonly path?: string;
  readonly description?: BackupDescription;
  /** Why there is none. */
  readonly error?: string;
  /** The guest was in use. */
  readonly busy?: boolean;
}

/** Who is told how a job goes. */
export interface JobListener {
  begun(guest: string): void;
  progress(guest: string, progress: PartProgress): void;
  ended(result: GuestResult): void;
  readonly log: Narration;
}

/**
 * Backs up guests, some at a time; the failure of one does not stop the others. An abort undoes what has begun and begins nothing
 * more. Rejects only where the job as a whole can't begin.
 */
export async function runBackupJob(
  job: BackupJob,
  listener: JobListener,
  signal: AbortSignal,
): Promise<GuestResult[]> {
  const hooks = new Hooks(job.hooks);
  const facts: HookFacts = {
    STILLFS_GUESTS: job.guests.map(({ guest }) => guest).join(' '),
    STILLFS_STORE: job.store.name,
    STILLFS_STORE_PATH: job.store.path,
    ...(job.chain !== null && { STILLFS_CHAIN: job.chain }),
  };
  const abort = (error: string): Promise<void> =>
    hooks.run('job-abort', { ...facts, STILLFS_ERROR: error }, listener.log);
  let store: StoreFolder;
  try {
    store = await openStoreFolder(job.store.path, signal);
  } catch (error) {
    await abort(messageOf(error));
    throw error;
  }
  try {
    await hooks.mustRun('job-start', facts, signal);
    const results = await backUpAll(job, store, hooks, listener, signal);
    const failed = results.filter(({ error }) => error !== undefined);
    if (failed.length === 0) await hooks.run('job-end', facts, listener.log);
    else await abort(failed.map(({ guest, error }) => `${guest}: ${error}`).join('\n'));
    return results;
  } catch (error) {
    await abort(messageOf(error));
    throw error;
  } finally {
    store.close();
  }
}

async function backUpAll(
  job: BackupJob,
  store: StoreFolder,
  hooks: Hooks,
  listener: JobListener,
  signal: AbortSignal,
): Promise<GuestResult[]> {
  const bandwidth = new Bandwidth(job.bytesPerSecond);
  const results: GuestResult[] = [];
  const backUp = async (guest: string, mount: string): Promise<GuestResult> => {
    const begun = performance.now();
    const seconds = (): number => Math.round((performance.now() - begun) / 100) / 10;
    listener.begun(guest);
    try {
      signal.throwIfAborted();
      const wish = {
        guest,
        mount,
        store,
        storeName: job.store.name,
        chain: job.chain,
        ...(job.disks && { disks: job.disks }),
        container: job.container,
        waitSeconds: job.waitSeconds,
        bandwidth,
        hooks,
        tool: job.tool,
        log: listener.log,
        progress: (progress: PartProgress) => listener.progress(guest, progress),
      };
      const { folder, path, description } = await backupGuest(wish, signal);
      return { guest, seconds: seconds(), backup: folder, path, description };
    } catch (error) {
      const why = signal.aborted ? messageOf(signal.reason) : messageOf(error);
      return { guest, seconds: seconds(), error: why, busy: hasCode(error, 'EBUSY') };
    }
  };
  const waiting = [...job.guests];
  const lane = async (): Promise<void> => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const result = await backUp(next.guest, next.mount);
      results.push(result);
      listener.ended(result);
    }
  };
  await Promise.all(Array.from({ length: Math.min(job.atOnce, job.guests.length) }, lane));
  return results;
}
