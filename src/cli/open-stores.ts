import type { ArchiveHost } from '../archives/hosted/archive-host.js';
import type { StoreSettings } from '../config/settings.js';
import type { Logger } from '../log.js';
import { openDirectoryStore } from '../stores/directory/directory-store.js';
import type { BackupStore } from '../stores/store.js';
import { queueDepths } from './thread-pool.js';

/** Opens every store, or none. The caller closes them. */
export async function openStores(
  stores: readonly StoreSettings[],
  log: Logger,
  { archives, signal }: { readonly archives?: ArchiveHost; readonly signal?: AbortSignal } = {},
): Promise<BackupStore[]> {
  const depths = queueDepths(stores);
  const opened: BackupStore[] = [];
  try {
    for (const [index, { name, path, idMap }] of stores.entries()) {
      const depth = depths[index];
      const options = {
        name,
        path,
        ...(depth !== undefined && { depth }),
        ...(idMap && { idMap }),
        ...(archives && { archives }),
      };
      opened.push(await openDirectoryStore(options, log, signal));
    }
    return opened;
  } catch (error) {
    await closeStores(opened);
    throw error;
  }
}

export async function closeStores(stores: readonly BackupStore[]): Promise<void> {
  const ends = await Promise.allSettled(stores.map((store) => store.close()));
  const failed = ends.find((end) => end.status === 'rejected');
  if (failed) throw failed.reason;
}
