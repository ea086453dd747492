/**
 * A range of a disk, in bytes, all of one kind.
 *
 * `zero`: the range reads as zeros, for certain; it may be shown as a hole. False says nothing about the bytes.
 * `dirty`: changed since the base (a snapshot's previous success, a stored layer's parent). Independent of `zero`:
 * a range that was zeroed is dirty and zero.
 */
export interface Extent {
  readonly offset: number;
  readonly length: number;
  readonly zero: boolean;
  readonly dirty: boolean;
}

/** Neighbours of one kind joined into one. The input is ascending and without gaps. */
export function joined(extents: Iterable<Extent>): Extent[] {
  const result: Extent[] = [];
  for (const extent of extents) {
    if (extent.length === 0) continue;
    const last = result.at(-1);
    if (
      last &&
      last.zero === extent.zero &&
      last.dirty === extent.dirty &&
      last.offset + last.length === extent.offset
    ) {
      result[result.length - 1] = { ...last, length: last.length + extent.length };
    } else {
      result.push(extent);
    }
  }
  return result;
}
