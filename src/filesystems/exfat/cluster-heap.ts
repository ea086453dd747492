import { StillError } from '../../errors.js';
import type { CachedReads } from '../cached-reads.js';
import type { Clusters } from '../cluster-chain.js';
import { TableWindow } from '../table-window.js';
import type { ExfatGeometry } from './boot-region.js';

export const firstCluster = 2;
const entryBytes = 4;
const bad = 0xffff_fff7;
const end = 0xffff_ffff;

/** The clusters of an exFAT file system, and the table of what follows which. */
export class ClusterHeap implements Clusters {
  readonly clusterBytes: number;
  readonly clusterCount: number;
  readonly #cache: CachedReads;
  readonly #geometry: ExfatGeometry;
  readonly #entries: TableWindow;

  constructor(cache: CachedReads, geometry: ExfatGeometry) {
    this.#cache = cache;
    this.#geometry = geometry;
    this.#entries = new TableWindow(cache, { offset: geometry.tableOffset, size: geometry.tableBytes });
    this.clusterBytes = geometry.clusterBytes;
    this.clusterCount = geometry.clusterCount;
  }

  placeOf(cluster: number): number {
    this.#mustExist(cluster);
    const place = this.#geometry.heapOffset + (cluster - firstCluster) * this.clusterBytes;
    if (place + this.clusterBytes > this.#cache.size)
      throw new StillError(
        'EIO',
        `cluster ${cluster} of the exFAT file system is beyond the end of the disk`,
      );
    return place;
  }

  next(cluster: number, signal: AbortSignal): number | undefined | Promise<number | undefined> {
    this.#mustExist(cluster);
    return this.#entries.read(
      cluster * entryBytes,
      entryBytes,
      (bytes, at) => this.#successor(cluster, bytes.readUInt32LE(at)),
      signal,
    );
  }

  #successor(cluster: number, value: number): number | undefined {
    if (value === end) return undefined;
    if (value === bad) throw damaged(cluster, 'it is marked as bad');
    if (value < firstCluster || value >= this.clusterCount + firstCluster)
      throw damaged(cluster, `cluster ${value} follows it, of ${this.clusterCount}`);
    return value;
  }

  #mustExist(cluster: number): void {
    if (cluster < firstCluster || cluster >= this.clusterCount + firstCluster)
      throw new StillError(
        'EIO',
        `the exFAT file system has no cluster ${cluster}: it has ${this.clusterCount}`,
      );
  }
}

function damaged(cluster: number, what: string): StillError {
  return new StillError(
    'EIO',
    `the chain of cluster ${cluster} of the exFAT file system is damaged: ${what}`,
  );
}
