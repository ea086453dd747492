import { StillError } from '../../errors.js';
import { isHole, type StoredBlock, storedBytes } from './data-blocks.js';
import type { FileInode } from './inode.js';
import type { MetadataCursor, MetadataPlace } from './metadata.js';

/** Sizes are read in pieces of so many: the list of a large file is long, and is itself packed. */
const piece = 2048;
const sizeBytes = 4;
const mostPieces = 4;
const mostWaypoints = 4096;

interface Piece {
  readonly number: number;
  readonly sizes: Uint32Array;
  /** Where each block begins in the image. */
  readonly places: Float64Array;
}

/** Where a piece's sizes are listed, and where its first block begins in the image. */
interface Waypoint {
  readonly list: MetadataPlace;
  readonly start: number;
}

/**
 * Where the blocks of a file are. The image tells their sizes alone, so the way to a block leads over all before it;
 * waypoints make it short the next time.
 */
export class BlockList {
  /** How many blocks; what follows them is in a fragment. */
  readonly count: number;
  readonly #file: FileInode;
  readonly #blockSize: number;
  readonly #cursorAt: (place: MetadataPlace) => MetadataCursor;
  /** The pieces that were used last, the latest first. */
  readonly #pieces: Piece[] = [];
  #waypoints: Waypoint[];
  /** How many pieces lie between two waypoints. */
  #stride = 1;

  constructor(file: FileInode, blockSize: number, cursorAt: (place: MetadataPlace) => MetadataCursor) {
    this.#file = file;
    this.#blockSize = blockSize;
    this.#cursorAt = cursorAt;
    const whole = Math.floor(file.size / blockSize);
    this.count = file.fragment === undefined && file.size % blockSize !== 0 ? whole + 1 : whole;
    this.#waypoints = [{ list: file.blocks, start: file.start }];
  }

  /** EIO: the list is damaged. */
  async block(number: number, signal: AbortSignal): Promise<StoredBlock> {
    const index = Math.floor(number / piece);
    const { sizes, places } = this.#piece(index) ?? (await this.#load(index, signal));
    const at = number - index * piece;
    const length = Math.min(this.#blockSize, this.#file.size - number * this.#blockSize);
    return { place: places[at] ?? 0, stored: sizes[at] ?? 0, length, exact: true };
  }

  /** The first block at or after one that is a hole, or is none. The count where there is no such block. */
  async next(from: number, hole: boolean, signal: AbortSignal): Promise<number> {
    for (let number = from; number < this.count; ) {
      const index = Math.floor(number / piece);
      const { sizes } = this.#piece(index) ?? (await this.#load(index, signal));
      for (let at = number - index * piece; at < sizes.length; at++) {
        if (isHole(sizes[at] ?? 0) === hole) return index * piece + at;
      }
      number = index * piece + sizes.length;
    }
    return this.count;
  }

  #piece(number: number): Piece | undefined {
    const at = this.#pieces.findIndex((each) => each.number === number);
    if (at > 0) this.#pieces.unshift(...this.#pieces.splice(at, 1));
    return at === -1 ? undefined : this.#pieces[0];
  }

  async #load(number: number, signal: AbortSignal): Promise<Piece> {
    const passed = Math.min(Math.floor(number / this.#stride), this.#waypoints.length - 1);
    const waypoint = this.#waypoints[passed];
    if (!waypoint) throw new Error('a block list has no waypoint');
    const cursor = this.#cursorAt(waypoint.list);
    let { start } = waypoint;
    for (let at = passed * this.#stride; ; at++) {
      signal.throwIfAborted();
      this.#remember(at, { list: cursor.place, start });
      const count = Math.min(piece, this.count - at * piece);
      const list = cursor.now(count * sizeBytes) ?? (await cursor.take(count * sizeBytes, signal));
      const found =
        at === number ? { sizes: new Uint32Array(count), places: new Float64Array(count) } : undefined;
      for (let each = 0; each < count; each++) {
        const size = list.readUInt32LE(each * sizeBytes);
        if (found) {
          found.sizes[each] = size;
          found.places[each] = start;
        }
        start += storedBytes(size);
      }
      if (start > Number.MAX_SAFE_INTEGER)
        throw new StillError('EIO', 'a list of blocks leaves the squashfs image');
      if (!found) continue;
      const loaded = { number, ...found };
      this.#pieces.unshift(loaded);
      this.#pieces.length = Math.min(this.#pieces.length, mostPieces);
      return loaded;
    }
  }

  #remember(number: number, waypoint: Waypoint): void {
    if (number !== this.#waypoints.length * this.#stride) return;
    this.#waypoints.push(waypoint);
    if (this.#waypoints.length <= mostWaypoints) return;
    this.#waypoints = this.#waypoints.filter((_, index) => index % 2 === 0);
    this.#stride *= 2;
  }
}
