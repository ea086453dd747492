import { LRUCache } from 'lru-cache';
import { hasCode, StillError } from '../../errors.js';
import type { Name } from '../../name.js';
import type { DirectoryRow } from '../../posix/getdents.js';
import { entryStatusIfCached, type FileStatus, statusOfEntry } from '../../posix/statx.js';
import type { QueueDepth } from '../../queue-depth.js';
import type { Inode } from '../../tree/attributes.js';
import { readRows } from './folder-rows.js';
import type { LocatedFiles } from './located-files.js';
import type { OpenFolders } from './open-folders.js';
import { StatAhead } from './stat-ahead.js';

/** So many entries that are not in memory show that a folder is not: the others are not tried. */
const mostMisses = 8;
/** Half of a store's usual queue depth: the other half is for who does not list. */
const aheadAtOnce = 4;
const mostEnds = 64;
/** Cookies are to be below 2^63, and two of them are the mount's (Entry.cookie). */
const cookieLimit = 2n ** 63n;
const cookiesOfMount = [cookieLimit - 3n, cookieLimit - 2n];

/** A row whose type is known, and the status of its file where that is at hand. */
export interface ListedRow extends DirectoryRow {
  readonly type: NonNullable<DirectoryRow['type']>;
  readonly status: FileStatus | undefined;
}

/** Lists folders, in pieces, with what is known of their files. */
export class FolderListing {
  readonly #depth: QueueDepth;
  readonly #folders: OpenFolders;
  readonly #located: LocatedFiles;
  readonly #ahead = new StatAhead();
  /** The cookies that nothing follows: the end of a folder is seen with its last entries, and asked for after. */
  readonly #ends = new LRUCache<Inode, bigint>({ max: mostEnds });

  constructor(depth: QueueDepth, folders: OpenFolders, located: LocatedFiles) {
    this.#depth = depth;
    this.#folders = folders;
    this.#located = located;
  }

  /** Some rows of a folder after a cookie (0n: from the start), without `.` and `..`; none at the end. */
  async after(folder: Inode, cookie: bigint, signal: AbortSignal): Promise<ListedRow[]> {
    if (cookie !== 0n && this.#ends.get(folder) === cookie) return [];
    const { rows, last } = await this.#depth.run(async () => {
      const descriptor = await this.#folders.later(folder);
      try {
        const read = await readRows(descriptor.number, cookie);
        return { rows: await withTypes(descriptor.number, read.rows), last: read.last };
      } finally {
        descriptor.letGo();
      }
    }, signal);
    for (const { next } of rows) checkCookie(folder, next);
    const statuses = this.#statusesInMemory(folder, rows);
    const missing = rows.filter(({ name }) => !statuses.has(name));
    await this.#statAll(folder, missing.slice(0, this.#ahead.take(missing.length)), statuses, signal);
    const end = rows.at(-1)?.next;
    if (!last) this.#ends.delete(folder);
    else if (end !== undefined) this.#ends.set(folder, end);
    return rows.map((row) => ({ ...row, status: statuses.get(row.name) }));
  }

  /** Takes note that a file had to be looked up at the disk. */
  lookedUp(folder: Inode): void {
    if (this.#ends.has(folder)) this.#ahead.missed();
  }

  #statusesInMemory(folder: Inode, rows: readonly ListedRow[]): Map<Name, FileStatus> {
    const statuses = new Map<Name, FileStatus>();
    let descriptor = rows.length > 0 ? this.#folders.now(folder) : undefined;
    let misses = 0;
    for (const { name, status: told } of rows) {
      const status = told ?? (descriptor === undefined ? undefined : entryStatusOrNothing(descriptor, name));
      if (status) statuses.set(name, status);
      else if (++misses === mostMisses) descriptor = undefined;
    }
    return statuses;
  }

  /** Looks at some entries in the pool, a few at a time. One that fails stays without a status: a look-up will tell. */
  async #statAll(
    folder: Inode,
    rows: readonly ListedRow[],
    statuses: Map<Name, FileStatus>,
    signal: AbortSignal,
  ): Promise<void> {
    const left = rows.values();
    const work = async (): Promise<void> => {
      for (const { name } of left) {
        await this.#located.entryLater(folder, name, signal).then(
          (status) => statuses.set(name, status),
          () => signal.throwIfAborted(),
        );
      }
    };
    await Promise.all(Array.from({ length: Math.min(aheadAtOnce, rows.length) }, work));
  }
}

/** Asks for the types that the file system does not tell in its listings; what went away meanwhile is left out. */
async function withTypes(folder: number, rows: readonly DirectoryRow[]): Promise<ListedRow[]> {
  const typed: ListedRow[] = [];
  for (const row of rows) {
    const { type } = row;
    if (type) {
      typed.push({ ...row, type, status: undefined });
      continue;
    }
    try {
      const status = await statusOfEntry(folder, row.name);
      typed.push({ ...row, type: status.type, status });
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error;
    }
  }
  return typed;
}

/** For a listing, which only takes what costs nothing; whoever then looks the name up is told what is wrong with it. */
function entryStatusOrNothing(folder: number, name: Name): FileStatus | undefined {
  try {
    return entryStatusIfCached(folder, name);
  } catch {
    return undefined;
  }
}

function checkCookie(folder: Inode, cookie: bigint): void {
  if (cookie < 1n || cookie >= cookieLimit || cookiesOfMount.includes(cookie)) {
    throw new StillError(
      'EOVERFLOW',
      `inode ${folder} can't be listed: its file system counts its entries up to ${cookie}`,
    );
  }
}
