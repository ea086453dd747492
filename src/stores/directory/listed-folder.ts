import type { StoreFolder } from '../../disks/store-folder.js';
import type { Name } from '../../name.js';
import { SharedWait } from '../../shared-wait.js';
import { listBeneath, type StoredEntry, type StoredStat, statBeneath } from './stored-entry.js';

/**
 * A folder that changed this shortly before it was listed may have changed again within the same tick of its file
 * system's clock (two seconds at worst): its time alone does not tell that the listing is still true.
 */
const tickMilliseconds = 2000;

interface Listing<Item> {
  readonly items: readonly Item[];
  readonly stat: StoredStat;
  /** How often the folder had been said to have changed when the listing began. */
  readonly notices: number;
  readonly settled: boolean;
}

export interface ListedFolderOptions<Item> {
  readonly folder: StoreFolder;
  readonly path: Name;
  /** At most so many entries are held; a folder with more is EFBIG. */
  readonly limit: number;
  /** For so long a listing is used without looking again. */
  readonly freshMilliseconds: number;
  /** Makes what is kept of the entries, in the order in which it is given. */
  readonly select: (entries: readonly StoredEntry[]) => Item[];
  readonly same: (a: Item, b: Item) => boolean;
  /** Called with the folder's descriptor before it is read. */
  readonly opened: (descriptor: number) => Promise<void>;
}

/** What a folder of a store lists, read anew only when the folder has changed. */
export class ListedFolder<Item> {
  readonly #options: ListedFolderOptions<Item>;
  #listing: Listing<Item> | undefined;
  #looking: SharedWait<readonly Item[]> | undefined;
  #freshUntil = 0;
  #notices = 0;

  constructor(options: ListedFolderOptions<Item>) {
    this.#options = options;
  }

  /** How many items are held. */
  get length(): number {
    return this.#listing?.items.length ?? 0;
  }

  /** Says that the folder may have changed. */
  notice(): void {
    this.#notices++;
  }

  async items(signal: AbortSignal): Promise<readonly Item[]> {
    const listing = this.#listing;
    if (listing && listing.notices === this.#notices && performance.now() < this.#freshUntil)
      return listing.items;
    if (!this.#looking || this.#looking.abandoned) {
      const looking = new SharedWait((shared) => this.#look(shared));
      this.#looking = looking;
    }
    return this.#looking.wait(signal);
  }

  async #look(signal: AbortSignal): Promise<readonly Item[]> {
    try {
      const items = await this.#lookAgain(signal);
      this.#freshUntil = performance.now() + this.#options.freshMilliseconds;
      return items;
    } finally {
      if (!signal.aborted) this.#looking = undefined;
    }
  }

  async #lookAgain(signal: AbortSignal): Promise<readonly Item[]> {
    const { folder, path, limit, select, same, opened } = this.#options;
    const before = this.#listing;
    if (before?.settled && before.notices === this.#notices) {
      const stat = await statBeneath(folder, path, signal);
      if (stat.identity === before.stat.identity) return before.items;
    }
    const notices = this.#notices;
    const { stat, entries } = await listBeneath(folder, path, limit, signal, opened);
    const selected = select(entries);
    const items = before && alike(before.items, selected, same) ? before.items : selected;
    const age = Date.now() - (stat.modified.seconds * 1000 + stat.modified.nanoseconds / 1e6);
    this.#listing = { items, stat, notices, settled: age > tickMilliseconds };
    return items;
  }
}

function alike<Item>(a: readonly Item[], b: readonly Item[], same: (a: Item, b: Item) => boolean): boolean {
  const isSame = (item: Item, index: number): boolean => {
    const other = b[index];
    return other !== undefined && same(item, other);
  };
  return a.length === b.length && a.every(isSame);
}
