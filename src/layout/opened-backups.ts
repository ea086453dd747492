import { LRUCache } from 'lru-cache';
import type { Name } from '../name.js';
import { SharedWait } from '../shared-wait.js';
import type { Backup, BackupReference, BackupStore, StoredFile } from '../stores/store.js';
import { Still } from './still.js';

/** So many backups are held open: their parts' names, no file. */
const mostBackups = 256;
/** For so long a backup is taken to be as it was when it was looked at last. */
const freshMilliseconds = 1000;

interface Place {
  readonly still: Still<StoredFile>;
  freshUntil: number;
}

/** The backups that were looked into lately. */
export class OpenedBackups {
  readonly #places = new LRUCache<Name, Place>({ max: mostBackups });
  readonly #opening = new Map<Name, SharedWait<Still<StoredFile>>>();
  readonly #changed: (path: Name) => void;

  /** `changed` is called with the path of a backup whose parts are found to be others than before. */
  constructor(changed: (path: Name) => void) {
    this.#changed = changed;
  }

  /** Opens a backup, or looks whether one that is open still is as it was. */
  async get(
    path: Name,
    store: BackupStore,
    guest: Name,
    reference: BackupReference,
    signal: AbortSignal,
  ): Promise<Still<StoredFile>> {
    const place = this.#places.get(path);
    if (place && performance.now() < place.freshUntil) return place.still;
    let opening = this.#opening.get(path);
    if (!opening || opening.abandoned) {
      opening = new SharedWait(async (shared) => {
        try {
          return this.#taken(path, await store.open(guest, reference, shared));
        } catch (error) {
          if (!shared.aborted) this.#places.delete(path);
          throw error;
        } finally {
          if (!shared.aborted) this.#opening.delete(path);
        }
      });
      this.#opening.set(path, opening);
    }
    return opening.wait(signal);
  }

  #taken(path: Name, backup: Backup): Still<StoredFile> {
    const key = `${path}\0${backup.version}`;
    const before = this.#places.peek(path);
    const same = before?.still.key === key;
    const { files, disks, rootfs, problems } = backup;
    const still =
      before && same
        ? before.still
        : new Still({ path, key, files, disks, rootfs, problems: () => problems });
    this.#places.set(path, { still, freshUntil: performance.now() + freshMilliseconds });
    if (before && !same) this.#changed(path);
    return still;
  }
}
