import { StillError } from '../errors.js';
import { rest, spend } from '../pace.js';
import type { MappedExtent } from './mapped-content.js';

/** Which cluster follows which, and where clusters are: of FAT and exFAT. */
export interface Clusters {
  /** Bytes. */
  readonly clusterBytes: number;
  /** Clusters are numbered from 2: no chain has more than so many, unless it goes in circles. */
  readonly clusterCount: number;
  /** Bytes from the disk's start. EIO: there is no such cluster, or the disk ends before it. */
  placeOf(cluster: number): number;
  /** The next cluster, `undefined` at the end of a chain. EIO: this one is free, or its successor is impossible. */
  next(cluster: number, signal: AbortSignal): number | undefined | Promise<number | undefined>;
}

/** Places in a chain that are remembered: one may have a million clusters. */
const mostKnown = 2048;
const firstStride = 32;
const mostExtents = 64;
/** So many steps along a chain cost about as much, in milliseconds. */
const walk = { steps: 1024, milliseconds: 0.1 } as const;

/** Where a file's bytes lie whose clusters are chained. Going back and forth in it costs little: places on the way are remembered. */
export class ClusterChain {
  readonly #clusters: Clusters;
  readonly #name: string;
  /** Every so many clusters of the chain, one: twice as many each time there are too many of them. */
  #known: number[];
  #stride = firstStride;
  /** Where the last walk ended. */
  #last: { readonly index: number; readonly cluster: number };

  /** `first`: the first cluster. `name`: what stands for the file in errors. */
  constructor(clusters: Clusters, first: number, name: string) {
    this.#clusters = clusters;
    this.#name = name;
    this.#known = [first];
    this.#last = { index: 0, cluster: first };
  }

  /** A `FileMap`. EIO: the chain ends before the range does, goes in circles, or leads to where nothing is. */
  async map(offset: number, length: number, signal: AbortSignal): Promise<readonly MappedExtent[]> {
    const { clusterBytes } = this.#clusters;
    const end = offset + Math.max(length, 1);
    let index = Math.floor(offset / clusterBytes);
    let cluster = await this.#clusterAt(index, signal);
    const extents: MappedExtent[] = [];
    for (;;) {
      const first = { index, cluster };
      let count = 1;
      let next: number | undefined;
      while ((index + 1) * clusterBytes < end) {
        const step = this.#step(index, cluster, signal);
        next = typeof step === 'object' ? await step : step;
        if (next === undefined) throw this.#tooShort(index + 1);
        index++;
        if (next !== cluster + 1) break;
        cluster = next;
        count++;
        next = undefined;
      }
      extents.push(this.#extent(first.index, first.cluster, count));
      if (next === undefined) {
        this.#last = { index, cluster };
        return extents;
      }
      cluster = next;
      this.#last = { index, cluster };
      if (extents.length === mostExtents) return extents;
    }
  }

  /** How many clusters the chain has; `most` where there are more. */
  async count(most: number, signal: AbortSignal): Promise<number> {
    let { index, cluster } = this.#last;
    while (index + 1 < most) {
      const step = this.#step(index, cluster, signal);
      const next = typeof step === 'object' ? await step : step;
      if (next === undefined) break;
      cluster = next;
      index++;
      this.#last = { index, cluster };
    }
    return index + 1;
  }

  #extent(index: number, cluster: number, count: number): MappedExtent {
    const { clusterBytes } = this.#clusters;
    const place = this.#clusters.placeOf(cluster);
    // Clusters that follow one another lie side by side; the last one may be beyond the end.
    if (count > 1) this.#clusters.placeOf(cluster + count - 1);
    return { offset: index * clusterBytes, length: count * clusterBytes, place };
  }

  async #clusterAt(wanted: number, signal: AbortSignal): Promise<number> {
    const nearest = Math.min(Math.floor(wanted / this.#stride), this.#known.length - 1);
    let index = nearest * this.#stride;
    let cluster = this.#known[nearest] ?? 0;
    if (this.#last.index <= wanted && this.#last.index > index) ({ index, cluster } = this.#last);
    while (index < wanted) {
      const step = this.#step(index, cluster, signal);
      const next = typeof step === 'object' ? await step : step;
      if (next === undefined) throw this.#tooShort(index + 1);
      cluster = next;
      index++;
    }
    this.#last = { index, cluster };
    return cluster;
  }

  /** The cluster after the one at `index`. */
  #step(
    index: number,
    cluster: number,
    signal: AbortSignal,
  ): number | undefined | Promise<number | undefined> {
    if (index + 1 >= this.#clusters.clusterCount)
      throw new StillError('EIO', `${this.#name} is damaged: the chain of its clusters goes in circles`);
    const next = this.#clusters.next(cluster, signal);
    if (index % walk.steps === walk.steps - 1) return this.#resting(index, next, signal);
    return typeof next === 'object'
      ? next.then((found) => this.#remember(index + 1, found))
      : this.#remember(index + 1, next);
  }

  async #resting(
    index: number,
    next: number | undefined | Promise<number | undefined>,
    signal: AbortSignal,
  ): Promise<number | undefined> {
    spend(walk.milliseconds);
    await rest();
    signal.throwIfAborted();
    return this.#remember(index + 1, await next);
  }

  #remember(index: number, cluster: number | undefined): number | undefined {
    if (cluster === undefined || index !== this.#known.length * this.#stride) return cluster;
    this.#known.push(cluster);
    if (this.#known.length > mostKnown) {
      this.#known = this.#known.filter((_, place) => place % 2 === 0);
      this.#stride *= 2;
    }
    return cluster;
  }

  #tooShort(clusters: number): StillError {
    return new StillError('EIO', `${this.#name} is damaged: it has only ${clusters} clusters`);
  }
}
