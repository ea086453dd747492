import type { CachedReads } from '../cached-reads.js';
import type { ListedEntry } from '../file-system.js';
import { folderPieces } from '../folder-pieces.js';
import type { FileMap } from '../mapped-content.js';
import {
  entryBytes,
  entryType,
  inUse,
  isFolderEntry,
  parseLabel,
  parseSet,
  secondary,
  setBytes,
} from './entry-set.js';
import type { ListedFiles } from './listed-files.js';

/** Where a folder's entries lie. */
export interface FolderPlace {
  readonly map: FileMap;
  /** Bytes. */
  readonly size: number;
}

const listedAtOnce = 256;

/** A set of entries that is being put together: it may lie across two clusters. */
interface Collected {
  /** On the disk, bytes. */
  readonly place: number;
  readonly bytes: Buffer;
  length: number;
}

/** A folder of exFAT: entries of 32 bytes, of which each file has a set. */
export class ExfatFolder {
  readonly #cache: CachedReads;
  readonly #folder: FolderPlace;
  readonly #listed: ListedFiles;
  readonly #problem: (sentence: string) => void;

  constructor(
    cache: CachedReads,
    folder: FolderPlace,
    { listed, problem }: { listed: ListedFiles; problem: (sentence: string) => void },
  ) {
    this.#cache = cache;
    this.#folder = folder;
    this.#listed = listed;
    this.#problem = problem;
  }

  /** Some entries after a cookie, which is the number of the entry after a set. */
  async entries(after: bigint, signal: AbortSignal): Promise<readonly ListedEntry[]> {
    const rows: ListedEntry[] = [];
    let set: Collected | undefined;
    for await (const { bytes, offset, place } of this.#pieces(Number(after) * entryBytes, signal)) {
      for (let at = 0; at + entryBytes <= bytes.length; at += entryBytes) {
        const type = bytes[at] ?? entryType.end;
        if (set && (type & (inUse | secondary)) === (inUse | secondary)) {
          set.length += bytes.copy(set.bytes, set.length, at, at + entryBytes);
          if (set.length < set.bytes.length) continue;
          const row = this.#row(set, (offset + at) / entryBytes + 1);
          set = undefined;
          if (row && rows.push(row) === listedAtOnce) return rows;
          continue;
        }
        if (set) this.#tellDamage(set);
        set = undefined;
        if (type === entryType.end) return rows;
        if (type === entryType.file) set = this.#begin(bytes, at, place + at);
      }
    }
    if (set) this.#tellDamage(set);
    return rows;
  }

  async countFolders(signal: AbortSignal): Promise<number> {
    let count = 0;
    for await (const { bytes } of this.#pieces(0, signal)) {
      for (let at = 0; at + entryBytes <= bytes.length; at += entryBytes) {
        if (bytes[at] === entryType.end) return count;
        if (isFolderEntry(bytes, at)) count++;
      }
    }
    return count;
  }

  /** The volume's label, which the root folder has. */
  async label(signal: AbortSignal): Promise<string | undefined> {
    for await (const { bytes } of this.#pieces(0, signal)) {
      for (let at = 0; at + entryBytes <= bytes.length; at += entryBytes) {
        if (bytes[at] === entryType.end) return undefined;
        if (bytes[at] === entryType.label) return parseLabel(bytes, at) || undefined;
      }
    }
    return undefined;
  }

  #begin(bytes: Buffer, at: number, place: number): Collected | undefined {
    const length = setBytes(bytes, at);
    const set = { place, bytes: Buffer.alloc(length ?? entryBytes), length: entryBytes };
    bytes.copy(set.bytes, 0, at, at + entryBytes);
    if (length !== undefined) return set;
    this.#tellDamage(set);
    return undefined;
  }

  #row({ place, bytes }: Collected, next: number): ListedEntry | undefined {
    const file = parseSet(bytes);
    if (!file) {
      this.#tellDamage({ place });
      return undefined;
    }
    const type = file.isFolder ? 'directory' : 'file';
    const inode = BigInt(place / entryBytes);
    this.#listed.add(inode, file);
    return { name: file.name, inode, type, cookie: BigInt(next) };
  }

  #tellDamage({ place }: Pick<Collected, 'place'>): void {
    this.#problem(`A file is left out: its entries in a folder, at ${place}, are damaged.`);
  }

  #pieces(from: number, signal: AbortSignal): ReturnType<typeof folderPieces> {
    return folderPieces(this.#cache, this.#folder.map, from, this.#folder.size, signal);
  }
}
