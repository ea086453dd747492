import type { Narration } from '../job/narration.js';
import { clearRemoved } from './removed-backup.js';
import { clearUnfinished } from './unfinished-backup.js';
import { settleMerges } from './unfinished-merge.js';

/** Settles all that killed backups and prunes have left of a guest. Only for who has the guest's lock exclusively. */
export async function clearLeft(guestFolder: string, log: Narration): Promise<void> {
  await settleMerges(guestFolder, log);
  await clearRemoved(guestFolder, log);
  await clearUnfinished(guestFolder, log);
}
