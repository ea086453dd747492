import type { Name } from '../../name.js';
import type { CachedReads } from '../cached-reads.js';
import type { ListedEntry } from '../file-system.js';
import { folderPieces } from '../folder-pieces.js';
import type { FileMap } from '../mapped-content.js';
import { LongName, labelText, shortName, slotBytes, slotKind } from './folder-slot.js';

/** Where a folder's slots lie. */
export interface FolderPlace {
  readonly map: FileMap;
  /** Bytes. */
  readonly size: number;
}

const listedAtOnce = 256;

/** A folder of FAT: slots of 32 bytes, of which a file has one with its short name, and some in front with the long one. */
export class FatFolder {
  readonly #cache: CachedReads;
  readonly #folder: FolderPlace;

  constructor(cache: CachedReads, folder: FolderPlace) {
    this.#cache = cache;
    this.#folder = folder;
  }

  /** Some entries after a cookie, which is the number of the slot after an entry. */
  async entries(after: bigint, signal: AbortSignal): Promise<readonly ListedEntry[]> {
    const rows: ListedEntry[] = [];
    const long = new LongName();
    for await (const { bytes, offset, place } of this.#pieces(Number(after) * slotBytes, signal)) {
      for (let at = 0; at + slotBytes <= bytes.length; at += slotBytes) {
        const kind = slotKind(bytes, at);
        if (kind === 'end') return rows;
        if (kind === 'long name') long.take(bytes, at);
        else if (kind !== 'file' && kind !== 'folder') long.forget();
        else {
          const name: Name = long.finish(bytes, at) ?? shortName(bytes, at);
          const cookie = BigInt((offset + at) / slotBytes + 1);
          const type = kind === 'file' ? 'file' : 'directory';
          if (name !== '') rows.push({ name, inode: BigInt((place + at) / slotBytes), type, cookie });
          if (rows.length === listedAtOnce) return rows;
        }
      }
    }
    return rows;
  }

  /** How many folders are in it, `.` and `..` not counted. */
  async countFolders(signal: AbortSignal): Promise<number> {
    let count = 0;
    for await (const { bytes } of this.#pieces(0, signal)) {
      for (let at = 0; at + slotBytes <= bytes.length; at += slotBytes) {
        const kind = slotKind(bytes, at);
        if (kind === 'end') return count;
        if (kind === 'folder') count++;
      }
    }
    return count;
  }

  /** The volume's label, which the root folder has. */
  async label(signal: AbortSignal): Promise<string | undefined> {
    for await (const { bytes } of this.#pieces(0, signal)) {
      for (let at = 0; at + slotBytes <= bytes.length; at += slotBytes) {
        const kind = slotKind(bytes, at);
        if (kind === 'end') return undefined;
        if (kind === 'label') return labelText(bytes.subarray(at, at + slotBytes));
      }
    }
    return undefined;
  }

  #pieces(from: number, signal: AbortSignal): ReturnType<typeof folderPieces> {
    return folderPieces(this.#cache, this.#folder.map, from, this.#folder.size, signal);
  }
}
