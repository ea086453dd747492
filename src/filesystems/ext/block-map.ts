import type { FileMap } from '../mapped-content.js';

/** Blocks of a file that follow each other in it, and on the disk. */
export interface BlockRun {
  /** In the file. */
  readonly first: number;
  readonly count: number;
  /** Where the first one is on the disk. Undefined: nowhere, or never written to: they read as zeros. */
  readonly block: number | undefined;
}

/** Where the blocks of a file are. */
export interface BlockMap {
  /**
   * Runs in ascending order, without gaps, the first holding the block `first`; at least one. They may end before `count`
   * blocks, or after. EIO: what tells it is damaged.
   */
  runs(first: number, count: number, signal: AbortSignal): Promise<readonly BlockRun[]>;
}

/** The same in bytes. */
export function fileMap(map: BlockMap, blockBytes: number): FileMap {
  return async (offset, length, signal) => {
    const first = Math.floor(offset / blockBytes);
    const end = Math.ceil((offset + length) / blockBytes);
    const runs = await map.runs(first, Math.max(end - first, 1), signal);
    return runs.map((run) => ({
      offset: run.first * blockBytes,
      length: run.count * blockBytes,
      place: run.block === undefined ? undefined : run.block * blockBytes,
    }));
  };
}

/** A list of runs that joins neighbours. */
export class JoinedRuns {
  readonly runs: BlockRun[] = [];

  add(first: number, count: number, block: number | undefined): void {
    const last = this.runs.at(-1);
    const follows =
      last !== undefined &&
      (block === undefined
        ? last.block === undefined
        : last.block !== undefined && last.block + last.count === block);
    if (last && follows) this.runs[this.runs.length - 1] = { ...last, count: last.count + count };
    else this.runs.push({ first, count, block });
  }
}
