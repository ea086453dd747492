import type { Layer, Run } from './layer.js';

/** Where the bytes of a range come from. */
export interface Source {
  /** Which image of the chain holds it; the number of images where none does. */
  readonly depth: number;
  /** Never `absent`: what no image holds is zero. */
  readonly run: Exclude<Run, { kind: 'absent' }>;
}

/** A table that must be read before the chain can be asked again. */
export interface Missing {
  readonly layer: Layer;
}

/**
 * Finds what each part of a chain's disk comes from, from low offsets to high ones. It remembers how far each image is
 * known to hold nothing, so that a deep chain is not asked anew for each cluster.
 */
export class ChainCursor {
  readonly #absentUntil: number[];

  constructor(
    private readonly layers: readonly Layer[],
    /** The image to begin with; those before it are passed over. */
    private readonly from = 0,
  ) {
    this.#absentUntil = new Array<number>(layers.length).fill(0);
  }

  /** What is at an offset, up to `length` long. Offsets must not go down from call to call. EIO: damaged. */
  find(offset: number, length: number): Source | Missing {
    let reach = length;
    for (let depth = this.from; depth < this.layers.length; depth++) {
      const layer = this.layers[depth];
      if (!layer) break;
      if (offset >= layer.size) return { depth, run: { kind: 'zero', length: reach } };
      reach = Math.min(reach, layer.size - offset);
      const known = this.#absentUntil[depth] ?? 0;
      if (offset < known) {
        reach = Math.min(reach, known - offset);
        continue;
      }
      // What lies beyond the wanted part is asked for too: the next call need not ask again.
      const run = layer.run(offset, reach);
      if (!run) return { layer };
      reach = run.length;
      if (run.kind !== 'absent') return { depth, run };
      this.#absentUntil[depth] = offset + run.length;
    }
    return { depth: this.layers.length, run: { kind: 'zero', length: reach } };
  }
}
