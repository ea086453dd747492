import { hasCode, messageOf } from '../../errors.js';
import { openStoreFolder, storedGuests } from '../stored/stored-guests.js';
import type { GuestVerdict } from './verdict.js';
import { type VerifyListener, verifyGuest } from './verify-guest.js';

/** What is to be verified: a store, a guest's backups in it, or one of them. */
export interface VerifyJob {
  /** The store's folder. */
  readonly path: string;
  readonly guest?: string;
  readonly time?: string;
  readonly waitSeconds: number;
}

/** Verifies guests one after another; one that can't be verified does not stop the others. Rejects where the store can't be opened. */
export async function runVerifyJob(
  { path, guest, time, waitSeconds }: VerifyJob,
  listener: VerifyListener,
  signal: AbortSignal,
): Promise<GuestVerdict[]> {
  const store = await openStoreFolder(path, signal);
  try {
    const verdicts: GuestVerdict[] = [];
    for (const each of guest === undefined ? await storedGuests(store) : [guest]) {
      const begun = performance.now();
      const seconds = (): number => Math.round((performance.now() - begun) / 100) / 10;
      try {
        signal.throwIfAborted();
        const wish = { store, guest: each, ...(time !== undefined && { time }), waitSeconds };
        verdicts.push({ guest: each, ...(await verifyGuest(wish, listener, signal)), seconds: seconds() });
      } catch (error) {
        const why = signal.aborted ? messageOf(signal.reason) : messageOf(error);
        const busy = hasCode(error, 'EBUSY');
        verdicts.push({ guest: each, backups: [], leftovers: [], seconds: seconds(), error: why, busy });
      }
    }
    return verdicts;
  } finally {
    store.close();
  }
}
