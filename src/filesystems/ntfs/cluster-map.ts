import { LRUCache } from 'lru-cache';
import { StillError } from '../../errors.js';
import type { FileMap, MappedExtent } from '../mapped-content.js';
import type { ValueSizes } from './attribute.js';
import { hole, type Runs, runOf } from './runs.js';

/** A part of a value: each is told by an attribute of its own. */
export interface ValuePart {
  /** The first cluster of the value that it tells of. */
  readonly first: number;
  runs(signal: AbortSignal): Promise<Runs>;
}

/** Parts of a fragmented value that are kept. */
const mostParts = 8;
const mostExtents = 1024;

/** Where the clusters of one value lie. A value in thousands of pieces is told in parts, which are read as they are needed. */
export class ClusterMap {
  readonly #parts: readonly ValuePart[];
  readonly #clusterBytes: number;
  readonly #owner: number;
  readonly #known = new LRUCache<number, Runs>({ max: mostParts });

  /** `parts`: in ascending order. `owner`: the MFT record, for errors. */
  constructor(parts: readonly ValuePart[], clusterBytes: number, owner: number) {
    this.#parts = parts;
    this.#clusterBytes = clusterBytes;
    this.#owner = owner;
  }

  /** The runs of the part that holds a cluster of the value; undefined where none does. */
  async runsAt(cluster: number, signal: AbortSignal): Promise<Runs | undefined> {
    let low = 0;
    let high = this.#parts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((this.#parts[middle]?.first ?? 0) <= cluster) low = middle;
      else high = middle - 1;
    }
    const known = this.#known.get(low);
    const runs = known ?? (await this.#parts[low]?.runs(signal));
    if (!runs) return undefined;
    if (!known) this.#known.set(low, runs);
    const begin = runs.starts[0] ?? runs.end;
    return begin <= cluster && cluster < runs.end ? runs : undefined;
  }

  /** As a file's bytes are read: what lies behind the initialized ones, or nowhere, is a hole. */
  fileMap({ size, initialized }: ValueSizes): FileMap {
    return async (offset, length, signal) => {
      if (offset >= initialized) return [{ offset, length: size - offset, place: undefined }];
      const bytes = this.#clusterBytes;
      const first = Math.floor(offset / bytes);
      const runs = await this.runsAt(first, signal);
      if (!runs)
        throw new StillError(
          'EIO',
          `MFT record ${this.#owner} does not tell where cluster ${first} of its data lies`,
        );
      const extents: MappedExtent[] = [];
      const end = Math.min(offset + length, initialized);
      for (let run = runOf(runs, first); run < runs.starts.length && extents.length < mostExtents; run++) {
        const from = (runs.starts[run] ?? 0) * bytes;
        if (from >= end) break;
        const to = Math.min((runs.starts[run + 1] ?? runs.end) * bytes, initialized);
        const place = runs.places[run] ?? hole;
        extents.push({ offset: from, length: to - from, place: place === hole ? undefined : place * bytes });
      }
      return extents;
    };
  }
}
