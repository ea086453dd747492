/** A range of bytes: from the first to before the last. */
export interface ByteRange {
  readonly from: number;
  readonly to: number;
}

/** Ranges of bytes, in order and apart from each other. */
export class ByteRanges {
  #ranges: ByteRange[] = [];

  /** Adds a range; gives the whole that it is now a part of. */
  add({ from, to }: ByteRange): ByteRange {
    const first = this.#firstEndingAtOrAfter(from);
    let last = first;
    let whole: ByteRange = { from, to };
    for (; ; last++) {
      const touched = this.#ranges[last];
      if (!touched || touched.from > to) break;
      whole = { from: Math.min(whole.from, touched.from), to: Math.max(whole.to, touched.to) };
    }
    this.#ranges.splice(first, last - first, whole);
    return whole;
  }

  overlaps({ from, to }: ByteRange): boolean {
    if (from >= to) return false;
    const next = this.#ranges[this.#firstEndingAtOrAfter(from + 1)];
    return next !== undefined && next.from < to;
  }

  /** A range in pieces that lie either within these ranges or outside them. */
  *pieces({ from, to }: ByteRange): Generator<ByteRange & { readonly within: boolean }> {
    let at = from;
    for (let index = this.#firstEndingAtOrAfter(from + 1); at < to; index++) {
      const next = this.#ranges[index];
      const start = Math.min(next?.from ?? to, to);
      if (start > at) yield { from: at, to: start, within: false };
      const end = Math.min(next?.to ?? to, to);
      if (end > Math.max(at, start)) yield { from: Math.max(at, start), to: end, within: true };
      at = Math.max(at, end);
      if (!next) break;
    }
  }

  #firstEndingAtOrAfter(offset: number): number {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ranges[middle]?.to ?? 0) < offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/**
 * What of a snapshot's disk was given back. It can't be read from then on; what goes to QEMU are whole granules alone,
 * for QEMU 7.2 aborts, and the guest with it, on anything else.
 */
export class GivenBack {
  readonly #given = new ByteRanges();
  readonly #freed = new ByteRanges();
  /** What QEMU was told to let go of, and what of that was dirty. */
  readonly #gone = new ByteRanges();
  readonly #goneDirty = new ByteRanges();
  #goneTimes = 0;

  constructor(
    private readonly sizeBytes: number,
    private readonly granuleBytes: number,
  ) {}

  /** Notes that a range is given back; gives the whole granules that are complete by that and were not before. */
  add(range: ByteRange): ByteRange[] {
    const { from, to } = this.granulesIn(this.#given.add(range));
    if (from >= to) return [];
    const complete = [...this.#freed.pieces({ from, to })].filter(({ within }) => !within);
    this.#freed.add({ from, to });
    return complete.map((piece) => ({ from: piece.from, to: piece.to }));
  }

  /** Notes that QEMU is being told to let go of a range: from now on it can't be asked about it. */
  letGo(range: ByteRange, dirty: readonly ByteRange[]): void {
    this.#gone.add(range);
    for (const each of dirty) this.#goneDirty.add(each);
    this.#goneTimes++;
  }

  /** How often something was let go of. */
  get timesLetGo(): number {
    return this.#goneTimes;
  }

  /** A range in pieces: what QEMU can be asked about, and what it has let go of, with what was known of it then. */
  *told(range: ByteRange): Generator<ByteRange & { readonly gone?: { readonly dirty: boolean } }> {
    for (const { from, to, within } of [...this.#gone.pieces(range)]) {
      if (!within) yield { from, to };
      else
        for (const piece of [...this.#goneDirty.pieces({ from, to })])
          yield { from: piece.from, to: piece.to, gone: { dirty: piece.within } };
    }
  }

  /** The whole granules in a range. */
  granulesIn({ from, to }: ByteRange): ByteRange {
    const granule = this.granuleBytes;
    const last = to === this.sizeBytes ? to : Math.floor(to / granule) * granule;
    return { from: Math.ceil(from / granule) * granule, to: last };
  }

  includesAnyOf(range: ByteRange): boolean {
    return this.#given.overlaps(range);
  }

  pieces(range: ByteRange): Generator<ByteRange & { readonly within: boolean }> {
    return this.#given.pieces(range);
  }
}
