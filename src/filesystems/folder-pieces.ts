import { StillError } from '../errors.js';
import type { CachedReads } from './cached-reads.js';
import type { FileMap } from './mapped-content.js';

/** A piece of a folder, in memory. */
export interface FolderPiece {
  /** Where it begins in the folder, bytes. */
  readonly offset: number;
  /** Where it begins on the disk, bytes. */
  readonly place: number;
  /** They must not be written to. */
  readonly bytes: Buffer;
}

/** A piece ends where the next one would be in another page of the cache. */
const pieceBytes = 4096;

/** The bytes of a folder from an offset on, piece by piece; whoever has seen enough reads no further. */
export async function* folderPieces(
  cache: CachedReads,
  map: FileMap,
  from: number,
  size: number,
  signal: AbortSignal,
): AsyncGenerator<FolderPiece> {
  for (let at = from; at < size; ) {
    const [extent] = await map(at, 1, signal);
    if (extent?.place === undefined) throw new StillError('EIO', `nothing lies at ${at} of a folder`);
    const end = Math.min(extent.offset + extent.length, size);
    while (at < end) {
      const place = extent.place + at - extent.offset;
      const length = Math.min(end - at, pieceBytes - (place % pieceBytes));
      const bytes = cache.now(place, length) ?? (await cache.bytes(place, length, signal));
      yield { offset: at, place, bytes };
      at += length;
    }
  }
}
