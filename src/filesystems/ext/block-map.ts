import type { FileMap, MappedExtent } from '../mapped-content.js';
import type { Blocks } from './blocks.js';

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

/** The same in bytes. EIO also where blocks are beyond the end of the disk. */
export function fileMap(map: BlockMap, blocks: Blocks): FileMap {
  return async (offset, length, signal) => {
    const from = Math.floor(offset / blocks.bytes);
    const end = Math.ceil((offset + length) / blocks.bytes);
    const extents: MappedExtent[] = [];
    for (const { first, count, block } of await map.runs(from, Math.max(end - from, 1), signal)) {
      const present = block === undefined ? count : blocks.present(block, count);
      const place = block === undefined ? undefined : block * blocks.bytes;
      if (present > 0) extents.push({ offset: first * blocks.bytes, length: present * blocks.bytes, place });
      // What lies before it can be read.
      if (present < count && first + present <= from) throw blocks.missing((block ?? 0) + present);
      if (present < count) break;
    }
    return extents;
  };
}

/** A list of runs that joins neighbours. */
export class JoinedRuns {
  readonly #done: BlockRun[] = [];
  #first = 0;
  #count = 0;
  #block: number | undefined;

  /** Follows what was added last. */
  add(first: number, count: number, block: number | undefined): void {
    const next = this.#block === undefined ? undefined : this.#block + this.#count;
    if (this.#count > 0 && block === next) {
      this.#count += count;
      return;
    }
    this.#close();
    this.#first = first;
    this.#count = count;
    this.#block = block;
  }

  get runs(): readonly BlockRun[] {
    this.#close();
    return this.#done;
  }

  #close(): void {
    if (this.#count > 0) this.#done.push({ first: this.#first, count: this.#count, block: this.#block });
    this.#count = 0;
  }
}
