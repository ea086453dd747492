import { LRUCache } from 'lru-cache';
import { atMost } from '../../../entry-limit.js';
import type { Inode } from '../../attributes.js';
import type { Entry } from '../../tree.js';

/** What is foretold at a time, at most. */
export const mostFoldersAhead = 16;

/** So many folders are remembered in their order. */
const mostFolders = 65_536;
/** When so many folders were listed, each in one that was listed before, somebody walks. */
const certain = 4;

/**
 * Foretells which folders will be listed: who goes from one to those in it (find, tar, rsync, du) mostly goes through all of them, in
 * about the order in which they were listed.
 */
export class WalkingOrder {
  /** The folders that a folder was listed among. */
  readonly #among = new LRUCache<Inode, Subfolders>(atMost(mostFolders));
  /** How many of the folders that were listed last stood in one that was listed before. */
  #inOrder = 0;

  /** To be called with each piece of a folder's listing. Gives folders that will be listed soon, each once. */
  listed(folder: Inode, after: bigint, entries: readonly Entry[]): readonly Inode[] {
    const beside = after === 0n ? this.#among.get(folder) : undefined;
    if (after === 0n) this.#inOrder = beside ? this.#inOrder + 1 : 0;
    const within = subfoldersIn(entries);
    if (within) for (const inode of within.inodes) this.#among.set(inode, within);
    if (this.#inOrder < certain) return [];
    return [...(within?.foretell() ?? []), ...(beside?.passed(folder) ?? [])];
  }

  clear(): void {
    this.#among.clear();
    this.#inOrder = 0;
  }
}

function subfoldersIn(entries: readonly Entry[]): Subfolders | undefined {
  const inodes: Inode[] = [];
  for (const { type, inode } of entries) if (type === 'directory') inodes.push(inode);
  return inodes.length > 0 ? new Subfolders(inodes) : undefined;
}

/** The folders in a piece of a folder's listing, in its order. */
class Subfolders {
  /** The place up to which they were foretold. */
  #told = 0;

  constructor(readonly inodes: readonly Inode[]) {}

  foretell(): readonly Inode[] {
    const next = this.inodes.slice(this.#told, this.#told + mostFoldersAhead);
    this.#told += next.length;
    return next;
  }

  /** One of them is listed. Gives more where few are left of those that were foretold. */
  passed(folder: Inode): readonly Inode[] {
    const place = this.inodes.indexOf(folder, Math.max(this.#told - mostFoldersAhead / 2, 0));
    if (place < 0) return [];
    this.#told = Math.max(this.#told, place + 1);
    return this.foretell();
  }
}
