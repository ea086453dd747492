import { type Extent, joined } from '../../extents.js';
import type { StatusRun } from './protocol.js';

const NBD_STATE_ZERO = 1 << 1;
/** Of a `qemu:dirty-bitmap:` context. */
const NBD_STATE_DIRTY = 1 << 0;

/** A place in a list of runs. */
class Cursor {
  readonly #runs: readonly StatusRun[];
  #place = 0;
  #used = 0;

  constructor(runs: readonly StatusRun[]) {
    this.#runs = runs;
  }

  get flags(): number {
    return this.#runs[this.#place]?.flags ?? 0;
  }

  /** Bytes of the run that are left; 0 after the last run. */
  get left(): number {
    return (this.#runs[this.#place]?.length ?? 0) - this.#used;
  }

  advance(bytes: number): void {
    this.#used += bytes;
    if (this.left > 0) return;
    this.#place++;
    this.#used = 0;
  }
}

/**
 * Extents from the runs of both contexts side by side, as far as both go and no further than so many bytes. A context
 * that was not agreed on says: data, dirty.
 */
export function extentsOf(
  begin: number,
  length: number,
  zeroRuns: readonly StatusRun[] | undefined,
  dirtyRuns: readonly StatusRun[] | undefined,
): Extent[] {
  const zero = new Cursor(zeroRuns ?? [{ length, flags: 0 }]);
  const dirty = new Cursor(dirtyRuns ?? [{ length, flags: NBD_STATE_DIRTY }]);
  const extents: Extent[] = [];
  let done = 0;
  while (done < length) {
    const step = Math.min(zero.left, dirty.left, length - done);
    if (step === 0) break;
    extents.push({
      offset: begin + done,
      length: step,
      zero: (zero.flags & NBD_STATE_ZERO) !== 0,
      dirty: (dirty.flags & NBD_STATE_DIRTY) !== 0,
    });
    done += step;
    zero.advance(step);
    dirty.advance(step);
  }
  return joined(extents);
}
