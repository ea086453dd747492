import type { Disk } from '../../disks/disk.js';

/** Blocks of a disk of which the same is known without reading their bytes. */
export interface BlockKind {
  readonly first: number;
  readonly count: number;
  /** All of them are zeros. */
  readonly zero: boolean;
  /** All of their bytes are the parent's: the image says nothing of them itself. */
  readonly inherited: boolean;
}

/** Takes a disk apart into blocks of so many bytes, in their order. Blocks whose extents can't be told are of no kind: reading them tells why. */
export async function* blockKinds(
  disk: Disk,
  blockBytes: number,
  signal: AbortSignal,
): AsyncGenerator<BlockKind, void, undefined> {
  const blocks = Math.ceil(disk.size / blockBytes);
  /** What is true of the block that `at` lies in, up to there. */
  let zero = true;
  let inherited = true;
  for (let at = 0; at < disk.size; ) {
    let end = at;
    try {
      for (const extent of await disk.extents(at, disk.size - at, signal)) {
        end = extent.offset + extent.length;
        while (at < end) {
          const block = Math.floor(at / blockBytes);
          const blockEnd = Math.min((block + 1) * blockBytes, disk.size);
          if (at === block * blockBytes && end >= blockEnd) {
            const next = end === disk.size ? blocks : Math.floor(end / blockBytes);
            yield { first: block, count: next - block, zero: extent.zero, inherited: !extent.dirty };
            at = Math.min(next * blockBytes, disk.size);
          } else {
            zero &&= extent.zero;
            inherited &&= !extent.dirty;
            at = Math.min(end, blockEnd);
            if (at < blockEnd) continue;
            yield { first: block, count: 1, zero, inherited };
            zero = true;
            inherited = true;
          }
        }
      }
    } catch {
      signal.throwIfAborted();
      const block = Math.floor(at / blockBytes);
      yield { first: block, count: 1, zero: false, inherited: false };
      at = Math.min((block + 1) * blockBytes, disk.size);
      zero = true;
      inherited = true;
    }
  }
}
