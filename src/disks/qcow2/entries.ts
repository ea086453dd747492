// The entries of the L1 and L2 tables: docs/interop/qcow2.txt, sections "Cluster mapping" and "Extended L2 Entries".
// An entry is taken as two halves of 32 bits: JavaScript's numbers hold 2^53, and BigInt is slow.

/** What an entry says of the cluster or subclusters from one place on. Offsets are bytes of the image's file. */
export type Piece =
  | { readonly kind: 'absent'; readonly length: number }
  | { readonly kind: 'zero'; readonly length: number }
  | { readonly kind: 'data'; readonly length: number; readonly hostOffset: number }
  | {
      readonly kind: 'compressed';
      readonly length: number;
      readonly hostOffset: number;
      /** How many bytes the compressed cluster takes up at most. */
      readonly hostLength: number;
      /** Where in the cluster the piece begins. */
      readonly within: number;
    }
  | { readonly kind: 'damaged'; readonly length: number; readonly what: string };

const offsetHigh = 0x00ffffff; // bits 32 to 55
const offsetLow = 0xfffffe00; // bits 9 to 31
const reserved = { l1High: 0x7f000000, l1Low: 0x1ff, l2High: 0x3f000000, l2Low: 0x1fe, extendedL2Low: 0x1ff };
const compressedHigh = 0x40000000; // bit 62
const zeroLow = 1; // bit 0
const subclusters = 32;

/** How an image's entries are to be read. */
export interface EntryFormat {
  readonly version: 2 | 3;
  readonly clusterSize: number;
  readonly extendedL2: boolean;
  readonly fileSize: number;
}

/** The offset of an L2 table, 0 for none, or what is wrong with the entry. */
export function readL1Entry(high: number, low: number): number | string {
  if ((high & reserved.l1High) !== 0 || (low & reserved.l1Low) !== 0) return 'reserved bits are set';
  return hostOffsetOf(high, low);
}

/** Reads an L2 entry of 8 bytes for what begins at a place within its cluster. */
export function readL2Entry(format: EntryFormat, high: number, low: number, within: number): Piece {
  const length = format.clusterSize - within;
  if ((high & compressedHigh) !== 0) return compressedPiece(format, high, low, within);
  if ((high & reserved.l2High) !== 0 || (low & reserved.l2Low) !== 0)
    return { kind: 'damaged', length, what: 'reserved bits are set' };
  const hostOffset = hostOffsetOf(high, low);
  if ((low & zeroLow) !== 0) {
    // An allocated zero cluster only keeps its place in the file: its bytes are not the disk's.
    if (format.version < 3)
      return { kind: 'damaged', length, what: 'a zero cluster, which version 2 does not have' };
    if (hostOffset % format.clusterSize !== 0)
      return { kind: 'damaged', length, what: `a zero cluster at ${hostOffset}, not at a cluster` };
    return { kind: 'zero', length };
  }
  if (hostOffset === 0) return { kind: 'absent', length };
  return dataPiece(format, hostOffset, within, length);
}

/**
 * Reads an L2 entry of 16 bytes: the same, with a bit for each of 32 subclusters that says it is allocated, and one
 * that says it reads as zeros. The piece is as many subclusters as are alike.
 */
export function readExtendedL2Entry(
  format: EntryFormat,
  high: number,
  low: number,
  zeros: number,
  allocated: number,
  within: number,
): Piece {
  const toEnd = format.clusterSize - within;
  if ((high & compressedHigh) !== 0) {
    if (zeros !== 0 || allocated !== 0)
      return { kind: 'damaged', length: toEnd, what: 'a compressed cluster with subclusters' };
    return compressedPiece(format, high, low, within);
  }
  if ((high & reserved.l2High) !== 0 || (low & reserved.extendedL2Low) !== 0)
    return { kind: 'damaged', length: toEnd, what: 'reserved bits are set' };
  if ((zeros & allocated) !== 0)
    return { kind: 'damaged', length: toEnd, what: 'a subcluster that is both allocated and zero' };
  const hostOffset = hostOffsetOf(high, low);
  if (hostOffset === 0 && allocated !== 0)
    return { kind: 'damaged', length: toEnd, what: 'allocated subclusters of a cluster that is not' };

  const size = format.clusterSize / subclusters;
  const first = Math.floor(within / size);
  const kindOf = (index: number): number => ((zeros >>> index) & 1) * 2 + ((allocated >>> index) & 1);
  const kind = kindOf(first);
  let last = first;
  while (last + 1 < subclusters && kindOf(last + 1) === kind) last++;
  const length = (last + 1) * size - within;
  if (kind === 2) return { kind: 'zero', length };
  if (kind === 0) return { kind: 'absent', length };
  return dataPiece(format, hostOffset, within, length);
}

/**
 * A data cluster that begins beyond the file's end is damage: what is missing was cut off. The last one may be short:
 * QEMU writes no more of it than the disk has, and what is not there reads as zeros.
 */
function dataPiece(format: EntryFormat, cluster: number, within: number, length: number): Piece {
  if (cluster % format.clusterSize !== 0)
    return { kind: 'damaged', length, what: `data at ${cluster}, not at a cluster` };
  if (cluster >= format.fileSize)
    return {
      kind: 'damaged',
      length,
      what: `data at ${cluster}, beyond the file's ${format.fileSize} bytes`,
    };
  return { kind: 'data', length, hostOffset: cluster + within };
}

/**
 * The number of sectors of 512 bytes is rounded up, so the last may reach beyond the file's end; the length is cut
 * there.
 */
function compressedPiece(format: EntryFormat, high: number, low: number, within: number): Piece {
  const length = format.clusterSize - within;
  // Bits 0 to x-1: the offset; x to 61: how many sectors follow the first. x = 62 - (cluster_bits - 8).
  const offsetBitsHigh = 62 - (Math.log2(format.clusterSize) - 8) - 32;
  const hostOffset = (high & (2 ** offsetBitsHigh - 1)) * 2 ** 32 + (low >>> 0);
  const sectors = ((high & 0x3fffffff) >>> offsetBitsHigh) + 1;
  if (hostOffset < format.clusterSize || hostOffset >= format.fileSize)
    return {
      kind: 'damaged',
      length,
      what: `compressed data at ${hostOffset}, outside of the file's clusters`,
    };
  const hostEnd = Math.min(Math.floor(hostOffset / 512) * 512 + sectors * 512, format.fileSize);
  return { kind: 'compressed', length, hostOffset, hostLength: hostEnd - hostOffset, within };
}

function hostOffsetOf(high: number, low: number): number {
  return (high & offsetHigh) * 2 ** 32 + ((low & offsetLow) >>> 0);
}
