import { broken } from './protocol.js';

/** Pieces apart from each other that one reply may come in. */
const mostPieces = 65_536;

/** Which bytes of a read have come. Every byte comes once: told twice, or not at all, the rest would be left as it was. */
export class Coverage {
  readonly #length: number;
  /** Begins and ends of what has come, ascending: [begin, end, begin, end …]. */
  readonly #edges: number[] = [];

  /** Of so many bytes. */
  constructor(length: number) {
    this.#length = length;
  }

  /** EIO where the range leaves the whole, is empty, or has come before. */
  add(begin: number, length: number): void {
    const end = begin + length;
    if (begin < 0 || end > this.#length) throw broken('data that nobody asked for');
    if (length === 0) throw broken('data of 0 bytes');
    const edges = this.#edges;
    const at = this.#firstAfter(begin);
    // An odd place lies within a piece.
    if (at % 2 === 1 || (edges[at] ?? Number.POSITIVE_INFINITY) < end)
      throw broken('data that it has sent before');
    const follows = at > 0 && edges[at - 1] === begin;
    const precedes = edges[at] === end;
    if (follows && precedes) edges.splice(at - 1, 2);
    else if (follows) edges[at - 1] = end;
    else if (precedes) edges[at] = begin;
    else edges.splice(at, 0, begin, end);
    if (edges.length > 2 * mostPieces) throw broken('data in too many pieces');
  }

  get complete(): boolean {
    return (
      this.#length === 0 ||
      (this.#edges.length === 2 && this.#edges[1] === this.#length && this.#edges[0] === 0)
    );
  }

  /** The place of the first edge beyond an offset. */
  #firstAfter(offset: number): number {
    let low = 0;
    let high = this.#edges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#edges[middle] ?? 0) <= offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
