import { StillError } from '../../errors.js';
import type { CachedReads } from '../cached-reads.js';
import type { Clusters } from '../cluster-chain.js';
import type { FatGeometry } from './boot-sector.js';

/** Bytes of a table that are looked at together: entries that follow one another lie in one piece. */
const windowBytes = 4096;
const firstCluster = 2;

interface TableWindow {
  /** Where it begins in the table. */
  readonly start: number;
  readonly bytes: Buffer;
}

/** The table of what follows which cluster. */
export class FileAllocationTable implements Clusters {
  readonly clusterBytes: number;
  readonly clusterCount: number;
  readonly #cache: CachedReads;
  readonly #geometry: FatGeometry;
  /** What was looked at last. */
  #window: TableWindow = { start: 0, bytes: Buffer.alloc(0) };

  constructor(cache: CachedReads, geometry: FatGeometry) {
    this.#cache = cache;
    this.#geometry = geometry;
    this.clusterBytes = geometry.clusterBytes;
    this.clusterCount = geometry.clusterCount;
  }

  placeOf(cluster: number): number {
    this.#mustExist(cluster);
    const place = this.#geometry.dataOffset + (cluster - firstCluster) * this.clusterBytes;
    if (place + this.clusterBytes > this.#cache.size)
      throw new StillError('EIO', `cluster ${cluster} of the FAT file system is beyond the end of the disk`);
    return place;
  }

  next(cluster: number, signal: AbortSignal): number | undefined | Promise<number | undefined> {
    this.#mustExist(cluster);
    const { bits } = this.#geometry;
    const at = Math.floor((cluster * bits) / 8);
    const length = bits === 32 ? 4 : 2;
    const { start, bytes } = this.#window;
    if (at >= start && at + length <= start + bytes.length)
      return this.#successor(cluster, bytes, at - start);
    return this.#load(at, length, signal).then((window) =>
      this.#successor(cluster, window.bytes, at - window.start),
    );
  }

  async #load(at: number, length: number, signal: AbortSignal): Promise<TableWindow> {
    const { tableOffset, tableBytes } = this.#geometry;
    let start = at - (at % windowBytes);
    // An entry of FAT12 may begin in one window and end in the next.
    if (at + length > start + windowBytes) start = at;
    const most = Math.min(windowBytes, tableBytes - start);
    const window = { start, bytes: await this.#cache.bytes(tableOffset + start, most, signal) };
    this.#window = window;
    return window;
  }

  #successor(cluster: number, bytes: Buffer, at: number): number | undefined {
    const { bits } = this.#geometry;
    const value =
      bits === 32
        ? bytes.readUInt32LE(at) & 0x0fff_ffff
        : bits === 16
          ? bytes.readUInt16LE(at)
          : cluster % 2 === 0
            ? bytes.readUInt16LE(at) & 0xfff
            : bytes.readUInt16LE(at) >>> 4;
    const most = bits === 32 ? 0x0fff_ffff : bits === 16 ? 0xffff : 0xfff;
    if (value >= most - 7) return undefined;
    if (value === most - 8) throw damaged(cluster, 'it is marked as bad');
    if (value === 0) throw damaged(cluster, 'it is free');
    if (value < firstCluster || value >= this.clusterCount + firstCluster)
      throw damaged(cluster, `cluster ${value} follows it, of ${this.clusterCount}`);
    return value;
  }

  #mustExist(cluster: number): void {
    if (cluster < firstCluster || cluster >= this.clusterCount + firstCluster)
      throw new StillError(
        'EIO',
        `the FAT file system has no cluster ${cluster}: it has ${this.clusterCount}`,
      );
  }
}

function damaged(cluster: number, what: string): StillError {
  return new StillError('EIO', `the chain of cluster ${cluster} of the FAT file system is damaged: ${what}`);
}
