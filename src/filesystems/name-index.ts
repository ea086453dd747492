import { LRUCache } from 'lru-cache';
import type { Name } from '../name.js';
import type { Inode } from '../tree/attributes.js';
import type { FolderEntry, ListedEntry } from './file-system.js';

/** Names that are remembered, of all folders together. */
const mostNames = 200_000;

type Listing = (after: bigint, signal: AbortSignal) => Promise<readonly ListedEntry[]>;

/**
 * Finds names in folders that have them in no order: a folder that is looked into is read once, and its names remembered as long as there is
 * room. Of two entries with one name, the first is found.
 */
export class NameIndex {
  readonly #folders = new LRUCache<Inode, ReadonlyMap<Name, FolderEntry>>({
    maxSize: mostNames,
    sizeCalculation: ({ size }) => size + 1,
  });

  async find(
    folder: Inode,
    name: Name,
    listing: Listing,
    signal: AbortSignal,
  ): Promise<FolderEntry | undefined> {
    const known = this.#folders.get(folder);
    if (known) return known.get(name);
    const names = new Map<Name, FolderEntry>();
    let found: FolderEntry | undefined;
    for (let after = 0n; ; ) {
      const rows = await listing(after, signal);
      for (const { name: each, inode, type, cookie } of rows) {
        after = cookie;
        if (each === name) found ??= { inode, type };
        if (names.size < mostNames && !names.has(each)) names.set(each, { inode, type });
      }
      const isTooLarge = names.size === mostNames;
      if (rows.length > 0 && !(isTooLarge && found)) continue;
      // A folder that is too large for the index is read anew each time.
      if (!isTooLarge) this.#folders.set(folder, names);
      return found;
    }
  }

  clear(): void {
    this.#folders.clear();
  }
}
