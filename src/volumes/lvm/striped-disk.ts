import type { Disk } from '../../disks/disk.js';
import { mustLieWithin } from '../../disks/disk-range.js';
import { StillError } from '../../errors.js';
import { type Extent, joined } from '../../extents.js';

/** A range of a logical volume, in bytes, and where it lies: chunk by chunk on each of the stripes by turns. */
export interface StripedSegment {
  readonly offset: number;
  readonly length: number;
  readonly chunkBytes: number;
  /** None: it reads as zeros. One: it lies there in one piece. */
  readonly stripes: readonly Stripe[];
}

export interface Stripe {
  readonly disk: Disk;
  /** Bytes from the disk's start. */
  readonly offset: number;
}

/** A part of a request, on one disk. */
interface Piece {
  /** In this disk. */
  readonly at: number;
  readonly length: number;
  readonly disk: Disk | undefined;
  readonly place: number;
}

/** So many pieces are read at a time: small stripes must not take all that a disk can do. */
const mostAtOnce = 8;
/** So many pieces are told of at a time. */
const mostTold = 64;

/** A disk that is put together from ranges of others; closing it closes none of them. */
export class StripedDisk implements Disk {
  readonly size: number;
  /** How many of these disks lie upon each other, this one among them. */
  readonly storeys: number;
  readonly #segments: readonly StripedSegment[];
  readonly #name: string;
  #closed = false;

  /** `segments`: ascending, without gaps, from 0. `name`: what stands for the disk in errors. */
  constructor(segments: readonly StripedSegment[], name: string) {
    const last = segments.at(-1);
    this.size = last ? last.offset + last.length : 0;
    this.storeys = 1 + segments.reduce((most, segment) => Math.max(most, storeysBelow(segment)), 0);
    this.#segments = segments;
    this.#name = name;
  }

  async read(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    this.#check(offset, target.length);
    let batch: Array<Promise<void>> = [];
    for (const { at, length, disk, place } of this.#pieces(offset, target.length)) {
      const part = target.subarray(at - offset, at - offset + length);
      if (disk) batch.push(disk.read(place, part, signal));
      else part.fill(0);
      if (batch.length < mostAtOnce) continue;
      await Promise.all(batch);
      batch = [];
    }
    await Promise.all(batch);
  }

  async extents(offset: number, length: number, signal?: AbortSignal): Promise<Extent[]> {
    this.#check(offset, length);
    const found: Extent[] = [];
    let count = 0;
    for (const piece of this.#pieces(offset, length)) {
      const { at, disk, place } = piece;
      let told = at;
      if (disk) {
        for (const extent of await disk.extents(place, piece.length, signal)) {
          found.push({ ...extent, offset: at + extent.offset - place });
          told += extent.length;
        }
      } else {
        found.push({ offset: at, length: piece.length, zero: true, dirty: false });
        told += piece.length;
      }
      if (told < at + piece.length || ++count === mostTold) break;
    }
    return joined(found);
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  #check(offset: number, length: number): void {
    if (this.#closed) throw new StillError('EBADF', `${this.#name} is closed`);
    mustLieWithin(this, this.#name, offset, length);
  }

  *#pieces(offset: number, length: number): Generator<Piece> {
    const end = offset + length;
    for (let at = offset, index = this.#indexOf(offset); at < end; index++) {
      const segment = this.#segments[index];
      if (!segment) return;
      for (const segmentEnd = segment.offset + segment.length; at < end && at < segmentEnd; ) {
        const piece = pieceAt(segment, at, Math.min(end, segmentEnd) - at);
        yield piece;
        at += piece.length;
      }
    }
  }

  /** The segment that an offset lies in. */
  #indexOf(offset: number): number {
    let low = 0;
    let high = this.#segments.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((this.#segments[middle]?.offset ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

function storeysBelow({ stripes }: StripedSegment): number {
  return stripes.reduce(
    (most, { disk }) => Math.max(most, disk instanceof StripedDisk ? disk.storeys : 0),
    0,
  );
}

function pieceAt({ offset, chunkBytes, stripes }: StripedSegment, at: number, length: number): Piece {
  const [first] = stripes;
  if (stripes.length <= 1 || !first) {
    return { at, length, disk: first?.disk, place: first ? first.offset + at - offset : 0 };
  }
  const chunk = Math.floor((at - offset) / chunkBytes);
  const within = at - offset - chunk * chunkBytes;
  const stripe = stripes[chunk % stripes.length] ?? first;
  const place = stripe.offset + Math.floor(chunk / stripes.length) * chunkBytes + within;
  return { at, length: Math.min(length, chunkBytes - within), disk: stripe.disk, place };
}
