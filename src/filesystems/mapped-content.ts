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
      const from = at;
      await Promise.all(
        extents.map((extent) => {
          if (!(extent.offset <= at && extent.offset + extent.length > at)) {
            if (extent.offset >= end) return undefined;
            throw new StillError('EIO', `what lies at ${at} of a file is not told`);
          }
          const start = at;
          at = Math.min(extent.offset + extent.length, end);
          return this.#readExtent(extent, start, target.subarray(start - offset, at - offset), signal);
        }),
      );
      if (at === from) throw new StillError('EIO', `what lies at ${at} of a file is not told`);
    }
  }

  async pieces(offset: number, length: number, signal: AbortSignal): Promise<readonly FilePiece[]> {
    const extents = await this.#map(offset, length, signal);
    return extents.map(({ offset: from, length: bytes, place }) => {
      const start = Math.max(from, offset);
      return { offset: start, length: from + bytes - start, hole: place === undefined };
    });
  }

  async #readExtent(
    { offset, place }: MappedExtent,
    at: number,
    target: Uint8Array,
    signal: AbortSignal,
  ): Promise<void> {
    if (place === undefined) {
      target.fill(0);
      return;
    }
    const from = place + at - offset;
    if (target.length > mostCached) await this.#disk.read(from, target, signal);
    else target.set(await this.#cache.bytes(from, target.length, signal));
  }
}
