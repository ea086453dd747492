import { hasCode } from '../../errors.js';
import type { ImageFile } from '../image-file.js';

/** A range of a file: a hole, which reads as zeros for certain, or not. */
export interface FileExtent {
  readonly offset: number;
  readonly length: number;
  readonly zero: boolean;
}

/** How many ranges one answer has at most: two system calls each. */
const mostExtents = 512;

/** The holes and the data of a range of a file, ascending, without gaps; they may end before the range does. */
export async function fileExtents(
  file: ImageFile,
  offset: number,
  length: number,
  signal?: AbortSignal,
): Promise<FileExtent[]> {
  const end = offset + length;
  const extents: FileExtent[] = [];
  for (let at = offset; at < end && extents.length < mostExtents; ) {
    signal?.throwIfAborted();
    const data = Math.min(await nextData(file, at, signal), end);
    if (data > at) {
      extents.push({ offset: at, length: data - at, zero: true });
      at = data;
    } else {
      const hole = Math.min(await file.seek(at, 'hole', signal), end);
      // Data was seen here a moment ago; a file that changes meanwhile is data as far as anyone can tell.
      const next = hole > at ? hole : end;
      extents.push({ offset: at, length: next - at, zero: false });
      at = next;
    }
  }
  return extents;
}

/** Infinity where no data follows. */
async function nextData(file: ImageFile, offset: number, signal?: AbortSignal): Promise<number> {
  try {
    return await file.seek(offset, 'data', signal);
  } catch (error) {
    if (!hasCode(error, 'ENXIO')) throw error;
    await file.mustBeWhole(signal);
    return Number.POSITIVE_INFINITY;
  }
}
