import { StillError } from '../../errors.js';

/** Pairs of offset in the file and offset in its archived bytes; the last pair is where both end. No two touch. */
export type Pieces = Float64Array;

/** The number of the last piece that begins at or before an offset of the file; -1: none. */
function pieceAt(pieces: Pieces, offset: number): number {
  let low = 0;
  let high = pieces.length / 2 - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((pieces[middle * 2] ?? 0) <= offset) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function beginOf(pieces: Pieces, piece: number): number {
  return pieces[piece * 2] ?? 0;
}

function archivedOf(pieces: Pieces, piece: number): number {
  return pieces[piece * 2 + 1] ?? 0;
}

function endOf(pieces: Pieces, piece: number): number {
  return beginOf(pieces, piece) + archivedOf(pieces, piece + 1) - archivedOf(pieces, piece);
}

/** How many bytes are data. */
export function dataBytes(pieces: Pieces): number {
  return archivedOf(pieces, pieces.length / 2 - 1);
}

/**
 * Fills `target` with what the file has at `offset`: zeros, and what `read` gives for an offset among the archived
 * bytes. It is called once at most, however many pieces there are: their bytes lie one after the other.
 */
export async function readSparse(
  pieces: Pieces,
  offset: number,
  target: Uint8Array,
  read: (archived: number, target: Uint8Array) => Promise<void>,
): Promise<void> {
  target.fill(0);
  const end = offset + target.length;
  const last = pieces.length / 2 - 1;
  const first = Math.max(0, pieceAt(pieces, offset));
  const from = archivedAt(pieces, first, offset);
  let piece = first;
  while (piece < last && beginOf(pieces, piece) < end) piece++;
  const to = piece === first ? from : archivedAt(pieces, piece - 1, end);
  if (to <= from) return;
  const bytes = new Uint8Array(to - from);
  await read(from, bytes);
  for (let each = first; each < piece; each++) {
    const begin = Math.max(offset, beginOf(pieces, each));
    const stop = Math.min(end, endOf(pieces, each));
    const archived = archivedAt(pieces, each, begin) - from;
    if (stop > begin) target.set(bytes.subarray(archived, archived + stop - begin), begin - offset);
  }
}

/** Where the bytes of a piece from an offset of the file on are, among the archived ones. */
function archivedAt(pieces: Pieces, piece: number, offset: number): number {
  const within = Math.min(Math.max(offset, beginOf(pieces, piece)), endOf(pieces, piece));
  return archivedOf(pieces, piece) + within - beginOf(pieces, piece);
}

/** The next data or hole at or after an offset, as lseek(2) defines them. ENXIO: no data follow. */
export function seekSparse(pieces: Pieces, size: number, offset: number, wanted: 'data' | 'hole'): number {
  const last = pieces.length / 2 - 1;
  const piece = pieceAt(pieces, offset);
  const inData = piece >= 0 && offset < endOf(pieces, piece);
  if (wanted === 'data') {
    if (inData) return offset;
    if (piece + 1 < last) return beginOf(pieces, piece + 1);
    throw new StillError('ENXIO', `there are no data after byte ${offset}`);
  }
  if (!inData) return offset;
  return Math.min(size, endOf(pieces, piece));
}
