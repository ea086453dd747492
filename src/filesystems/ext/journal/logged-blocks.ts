import { StillError } from '../../../errors.js';

/** So many blocks may be in the log: a journal of 8 GiB with blocks of 4 KiB. */
const most = 2 ** 21;

/** A block that is in the log: where, and how it is to be checked. */
export interface LoggedBlock {
  /** On the disk, in blocks. */
  readonly place: number;
  readonly sequence: number;
  readonly checksum: number;
  readonly escaped: boolean;
}

/** Which blocks of a file system have newer bytes in the log, and where: not the bytes themselves. */
export class LoggedBlocks {
  readonly #slots = new Map<number, number>();
  #places = new Float64Array(1024);
  #sequences = new Uint32Array(1024);
  #checksums = new Uint32Array(1024);
  #escaped = new Uint8Array(1024);
  #used = 0;
  /** Ascending; made when they are first asked for. */
  #blocks: Float64Array | undefined;

  get size(): number {
    return this.#slots.size;
  }

  /** EIO: there are more than can be kept. */
  set(block: number, { place, sequence, checksum, escaped }: LoggedBlock): void {
    const slot = this.#slots.get(block) ?? this.#newSlot();
    this.#slots.set(block, slot);
    this.#places[slot] = place;
    this.#sequences[slot] = sequence;
    this.#checksums[slot] = checksum;
    this.#escaped[slot] = escaped ? 1 : 0;
    this.#blocks = undefined;
  }

  delete(block: number): void {
    if (this.#slots.delete(block)) this.#blocks = undefined;
  }

  get(block: number): LoggedBlock | undefined {
    const slot = this.#slots.get(block);
    if (slot === undefined) return undefined;
    return {
      place: this.#places[slot] ?? 0,
      sequence: this.#sequences[slot] ?? 0,
      checksum: this.#checksums[slot] ?? 0,
      escaped: this.#escaped[slot] === 1,
    };
  }

  /** Those of a range, ascending. */
  within(first: number, end: number): number[] {
    this.#blocks ??= Float64Array.from(this.#slots.keys()).sort();
    let low = 0;
    let high = this.#blocks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#blocks[middle] ?? 0) < first) low = middle + 1;
      else high = middle;
    }
    const found: number[] = [];
    for (let block = this.#blocks[low]; block !== undefined && block < end; block = this.#blocks[++low])
      found.push(block);
    return found;
  }

  #newSlot(): number {
    if (this.#used === most) throw new StillError('EIO', `it holds more than ${most} blocks`);
    if (this.#used === this.#places.length) this.#grow();
    return this.#used++;
  }

  #grow(): void {
    const grown = <T extends Float64Array | Uint32Array | Uint8Array>(from: T, to: T): T => {
      to.set(from);
      return to;
    };
    const length = this.#places.length * 2;
    this.#places = grown(this.#places, new Float64Array(length));
    this.#sequences = grown(this.#sequences, new Uint32Array(length));
    this.#checksums = grown(this.#checksums, new Uint32Array(length));
    this.#escaped = grown(this.#escaped, new Uint8Array(length));
  }
}
