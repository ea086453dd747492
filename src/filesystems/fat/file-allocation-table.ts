import { StillError } from '../../errors.js';
import type { CachedReads } from '../cached-reads.js';
import type { Clusters } from '../cluster-chain.js';
import { TableWindow } from '../table-window.js';
import type { FatGeometry } from './boot-sector.js';

const firstCluster = 2;

/** The table of what follows which cluster. */
export class FileAllocationTable implements Clusters {
  readonly clusterBytes: number;
  readonly clusterCount: number;
  readonly #cache: CachedReads;
  readonly #geometry: FatGeometry;
  readonly #entries: TableWindow;

  constructor(cache: CachedReads, geometry: FatGeometry) {
    this.#cache = cache;
    this.#geometry = geometry;
    this.#entries = new TableWindow(cache, { offset: geometry.tableOffset, size: geometry.tableBytes });
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
    return this.#entries.read(at, length, (bytes, place) => this.#successor(cluster, bytes, place), signal);
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
