import { blockBytes, blockCount, lengthOfBlock } from '../sums/sums-format.js';

/** Blocks (of `blockBytes`) one after another that are damaged alike. */
export interface DamagedBlocks {
  readonly first: number;
  readonly count: number;
  /** What was found, in a few words. */
  readonly why: string;
  /** The backup whose stored bytes are damaged; undefined where it is not known. */
  readonly from: string | undefined;
}

/** As many runs of blocks are told apart; a disk with more has no sound part worth telling. */
const mostRuns = 10_000;

/** What is damaged of a disk or file: noted from low blocks to high ones. */
export class Damage {
  readonly #runs: DamagedBlocks[] = [];
  #blocks = 0;
  #complete = true;

  get runs(): readonly DamagedBlocks[] {
    return this.#runs;
  }

  /** How many blocks are damaged, those that `runs` has no room for too. */
  get blocks(): number {
    return this.#blocks;
  }

  /** Whether `runs` tells of all. */
  get complete(): boolean {
    return this.#complete;
  }

  /** How much of so many bytes is damaged; the last block may be a short one. */
  bytes(sizeBytes: number): number {
    const last = blockCount(sizeBytes) - 1;
    const short = this.at(last) ? blockBytes - lengthOfBlock(last, sizeBytes) : 0;
    return this.#blocks * blockBytes - short;
  }

  /** Notes a block after those that were noted before. */
  add(block: number, why: string, from: string | undefined): void {
    this.#blocks++;
    const last = this.#runs.at(-1);
    if (last && last.first + last.count === block && last.why === why && last.from === from)
      this.#runs[this.#runs.length - 1] = { ...last, count: last.count + 1 };
    else if (this.#runs.length < mostRuns) this.#runs.push({ first: block, count: 1, why, from });
    else this.#complete = false;
  }

  /** What is known of a block. */
  at(block: number): DamagedBlocks | undefined {
    let low = 0;
    let high = this.#runs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const run = this.#runs[middle];
      if (run && run.first + run.count <= block) low = middle + 1;
      else high = middle;
    }
    const run = this.#runs[low];
    return run && run.first <= block ? run : undefined;
  }
}

/** A run of blocks as bytes of a disk. */
export function byteRange(
  { first, count }: Pick<DamagedBlocks, 'first' | 'count'>,
  sizeBytes: number,
): { readonly offset: number; readonly length: number } {
  const offset = first * blockBytes;
  return { offset, length: Math.min((first + count) * blockBytes, sizeBytes) - offset };
}
