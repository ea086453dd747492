import type { Disk } from '../disks/disk.js';
import { StillError } from '../errors.js';
import type { CachedReads } from './cached-reads.js';
import type { FileContent, FilePiece } from './file-system.js';

/** A range of a file, and where it lies. */
export interface MappedExtent {
  /** In the file, bytes. */
  readonly offset: number;
  readonly length: number;
  /** On the disk, bytes. Undefined: nowhere, it reads as zeros. */
  readonly place: number | undefined;
}

/**
 * Where a file's bytes lie: extents in ascending order, without gaps, the first holding `offset`, at least one; they may end before
 * the range does, or after it. EIO: what tells it is damaged.
 */
export type FileMap = (
  offset: number,
  length: number,
  signal: AbortSignal,
) => Promise<readonly MappedExtent[]>;

/** Reads of up to so many bytes go through the cache: the files of a folder lie side by side. */
const mostCached = 16 * 1024;

/** So many parts of a file are read at once: one in pieces must not take all that a disk can do. */
const mostAtOnce = 8;

/** A part of a read that lies in one extent. */
interface Part {
  readonly extent: MappedExtent;
  /** Where it begins in the file, bytes. */
  readonly from: number;
  readonly target: Uint8Array;
}

/** The bytes of a file that lie on the disk as they are. */
export class MappedContent implements FileContent {
  readonly #disk: Disk;
  readonly #cache: CachedReads;
  readonly #map: FileMap;

  constructor(disk: Disk, cache: CachedReads, map: FileMap) {
    this.#disk = disk;
    this.#cache = cache;
    this.#map = map;
  }

  async read(offset: number, target: Uint8Array, signal: AbortSignal): Promise<void> {
    const end = offset + target.length;
    for (let at = offset; at < end; ) {
      const extents = await this.#map(at, end - at, signal);
      const parts: Part[] = [];
      for (const extent of extents) {
        if (extent.offset >= end) break;
        if (!(extent.offset <= at && extent.offset + extent.length > at)) throw untold(at);
        const from = at;
        at = Math.min(extent.offset + extent.length, end);
        parts.push({ extent, from, target: target.subarray(from - offset, at - offset) });
      }
      if (parts.length === 0) throw untold(at);
      for (let done = 0; done < parts.length; done += mostAtOnce) {
        const some = parts.slice(done, done + mostAtOnce);
        await Promise.all(some.map((part) => this.#readPart(part, signal)));
      }
    }
  }

  async pieces(offset: number, length: number, signal: AbortSignal): Promise<readonly FilePiece[]> {
    const extents = await this.#map(offset, length, signal);
    return extents.map(({ offset: from, length: bytes, place }) => {
      const start = Math.max(from, offset);
      return { offset: start, length: from + bytes - start, hole: place === undefined };
    });
  }

  async #readPart({ extent: { offset, place }, from, target }: Part, signal: AbortSignal): Promise<void> {
    if (place === undefined) {
      target.fill(0);
      return;
    }
    const start = place + from - offset;
    if (target.length > mostCached) await this.#disk.read(start, target, signal);
    else target.set(await this.#cache.bytes(start, target.length, signal));
  }
}

function untold(at: number): StillError {
  return new StillError('EIO', `what lies at ${at} of a file is not told`);
}
