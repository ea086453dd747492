import { StillError } from '../../errors.js';
import type { NonResidentAttribute } from './attribute.js';

/** Where clusters of a value lie: neighbours together, in ascending order, without gaps. */
export interface Runs {
  /** The first cluster of each run, counted in the value. */
  readonly starts: readonly number[];
  /** The cluster of the volume that each run begins at; `hole` for nowhere. */
  readonly places: readonly number[];
  /** Behind the last one. */
  readonly end: number;
}

export const hole = -1;
const mostClusters = 2 ** 52;

/**
 * Reads the mapping pairs of an attribute: a byte with two lengths, then how many clusters, then how far from those before they lie.
 * EIO: they are damaged, or lead out of a volume of so many clusters.
 */
export function parseRuns(attribute: NonResidentAttribute, clusters: number, owner: number): Runs {
  const { mappingPairs, first, last } = attribute;
  const { record: bytes, to } = mappingPairs;
  const starts: number[] = [];
  const places: number[] = [];
  let cluster = first;
  let place = 0;
  for (let at = mappingPairs.from; at < to && bytes[at] !== 0; ) {
    const head = bytes[at++] ?? 0;
    const lengthBytes = head & 15;
    const distanceBytes = head >>> 4;
    if (lengthBytes === 0 || lengthBytes > 6 || distanceBytes > 6 || at + lengthBytes + distanceBytes > to)
      throw damaged(owner, `a run is told in ${lengthBytes} and ${distanceBytes} bytes`);
    const length = bytes.readIntLE(at, lengthBytes);
    at += lengthBytes;
    if (length <= 0 || cluster + length > mostClusters) throw damaged(owner, `a run of ${length} clusters`);
    starts.push(cluster);
    cluster += length;
    if (distanceBytes === 0) {
      places.push(hole);
      continue;
    }
    place += bytes.readIntLE(at, distanceBytes);
    at += distanceBytes;
    // NT 4 wrote -1 for what lies nowhere.
    if (place < hole || (place !== hole && place + length > clusters))
      throw damaged(owner, `${length} clusters at ${place} lie outside of the volume's ${clusters}`);
    places.push(place);
  }
  // A first part that is the only one may leave it at 0.
  if (cluster !== last + 1 && !(first === 0 && last === 0))
    throw damaged(owner, `its runs end at cluster ${cluster}, not at ${last + 1}`);
  return { starts, places, end: cluster };
}

/** Which run holds a cluster, which lies in one of them. */
export function runOf({ starts }: Runs, cluster: number): number {
  let low = 0;
  let high = starts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if ((starts[middle] ?? 0) <= cluster) low = middle;
    else high = middle - 1;
  }
  return low;
}

function damaged(owner: number, how: string): StillError {
  return new StillError('EIO', `where the clusters of MFT record ${owner} lie is damaged: ${how}`);
}
