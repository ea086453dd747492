import { type BigIntStats, close, constants, fstat } from 'node:fs';
import { promisify } from 'node:util';
import type { StoreFolder } from '../../disks/store-folder.js';
import { hasCode, StillError } from '../../errors.js';
import { type Name, nameToText } from '../../name.js';
import { readDirectory } from '../../posix/getdents.js';
import { O_PATH, openBeneath } from '../../posix/openat2.js';
import { type Time, timeFromNanoseconds } from '../../time.js';
import type { FileType } from '../../tree/attributes.js';

const closeDescriptor = promisify(close);
const statDescriptor = (descriptor: number): Promise<BigIntStats> =>
  new Promise((resolve, reject) => {
    fstat(descriptor, { bigint: true }, (error, stats) => (error ? reject(error) : resolve(stats)));
  });

/** What stat tells of something in a store. */
export interface StoredStat {
  readonly type: FileType;
  /** Bytes. */
  readonly size: number;
  readonly modified: Time;
  /** Another one means another file, or another content of the same. */
  readonly identity: string;
}

/** A name in a folder of a store. */
export interface StoredEntry {
  readonly name: Name;
  readonly type: FileType;
}

export interface StoredListing {
  readonly stat: StoredStat;
  /** In the order of their bytes, so that what is shown does not hang on the file system's order. */
  readonly entries: readonly StoredEntry[];
}

export function inFolder(folder: Name, name: Name): Name {
  return (folder === '' ? name : `${folder}/${name}`) as Name;
}

/** Looks at something in a store; nothing is opened for reading, no symlink is followed. */
export async function statBeneath(
  folder: StoreFolder,
  path: Name,
  signal?: AbortSignal,
): Promise<StoredStat> {
  return folder.depth.run(() => statOf(folder.descriptor, path), signal);
}

/** Faults of this machine's, which say nothing of the file. */
const passing = ['EMFILE', 'ENFILE', 'ENOMEM'] as const;

/** Looks at several; undefined for what can't be looked at, mostly because it has gone meanwhile. */
export async function statAllBeneath(
  folder: StoreFolder,
  paths: readonly Name[],
  signal?: AbortSignal,
): Promise<Array<StoredStat | undefined>> {
  return folder.depth.run(async () => {
    const stats: Array<StoredStat | undefined> = [];
    for (const path of paths) {
      signal?.throwIfAborted();
      stats.push(await statOf(folder.descriptor, path).catch(missing));
    }
    return stats;
  }, signal);
}

/**
 * Lists a folder of a store, at most `limit` entries (EFBIG where there are more: what is listed is held in memory).
 * `opened` is called with the folder's descriptor before the first entry is read, and may use it until it settles.
 */
export async function listBeneath(
  folder: StoreFolder,
  path: Name,
  limit: number,
  signal?: AbortSignal,
  opened?: (descriptor: number) => Promise<void>,
): Promise<StoredListing> {
  // One call for the queue depth: after an abort it goes on to its end, so that nobody closes what it still reads.
  return folder.depth.run(async () => {
    const flags = constants.O_RDONLY | constants.O_DIRECTORY;
    const descriptor = await openBeneath(folder.descriptor, path, flags);
    try {
      await opened?.(descriptor);
      const stat = storedStat(await statDescriptor(descriptor));
      const entries = await entriesOf(folder, path, descriptor, limit, signal);
      return { stat, entries };
    } finally {
      await closeDescriptor(descriptor);
    }
  }, signal);
}

async function entriesOf(
  folder: StoreFolder,
  path: Name,
  descriptor: number,
  limit: number,
  signal: AbortSignal | undefined,
): Promise<StoredEntry[]> {
  const entries: StoredEntry[] = [];
  for (let after = 0n; ; ) {
    signal?.throwIfAborted();
    const rows = await readDirectory(descriptor, after);
    const last = rows.at(-1);
    if (!last) break;
    after = last.next;
    for (const { name, type } of rows) {
      if (name === '.' || name === '..') continue;
      const known = type ?? (await statOf(descriptor, name).catch(missing))?.type;
      if (known) entries.push({ name, type: known });
    }
    if (entries.length > limit) {
      throw new StillError(
        'EFBIG',
        `${folder.path}/${nameToText(path)} holds more than ${limit} entries; move what is no backup elsewhere`,
      );
    }
  }
  return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function statOf(descriptor: number, path: Name): Promise<StoredStat> {
  const named = await openBeneath(descriptor, path, O_PATH);
  try {
    return storedStat(await statDescriptor(named));
  } finally {
    await closeDescriptor(named);
  }
}

function missing(error: unknown): undefined {
  if (passing.some((code) => hasCode(error, code))) throw error;
}

function storedStat(stats: BigIntStats): StoredStat {
  if (stats.size > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new StillError('EFBIG', `a file of ${stats.size} bytes is larger than can be shown`);
  }
  return {
    type: typeOf(stats),
    size: Number(stats.size),
    modified: timeFromNanoseconds(stats.mtimeNs),
    identity: [stats.dev, stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].join(' '),
  };
}

function typeOf(stats: BigIntStats): FileType {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  if (stats.isSymbolicLink()) return 'symlink';
  if (stats.isBlockDevice()) return 'block';
  if (stats.isCharacterDevice()) return 'character';
  return stats.isFIFO() ? 'fifo' : 'socket';
}
