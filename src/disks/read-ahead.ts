import { giveLargePiece, largePieceBytes, takeLargePiece } from './large-pieces.js';

/** Bytes that are read ahead at most, and how many at a time. */
export interface ReadAheadBounds {
  readonly windowBytes: number;
  readonly pieceBytes: number;
  /** So many bytes are read one after another before anything is read ahead. */
  readonly afterBytes: number;
}

const defaultBounds: ReadAheadBounds = {
  windowBytes: 4 * 1024 * 1024,
  pieceBytes: 1024 * 1024,
  afterBytes: 256 * 1024,
};

type Read = (offset: number, target: Uint8Array, signal?: AbortSignal) => Promise<void>;

interface Piece {
  readonly from: number;
  readonly memory: Buffer;
  /** As much of the memory as is read. */
  readonly bytes: Uint8Array;
  /** False: it could not be read; whoever wants it learns why by reading it. */
  there: Promise<boolean>;
  /** Nothing is written to `bytes` any more. */
  settled: boolean;
}

/**
 * Reads a disk ahead of who reads it from its beginning to its end, for a kernel that caches nothing does not. Reads that jump about
 * cost nothing: what was read ahead is dropped at the first of them.
 */
export class ReadAhead {
  readonly #read: Read;
  readonly #size: number;
  readonly #bounds: ReadAheadBounds;
  #pieces: Piece[] = [];
  #readers = 0;
  #abort = new AbortController();
  /** Where the next read begins if it goes on, and how many bytes were read in one go up to there. */
  #next = 0;
  #run = 0;

  constructor(read: Read, size: number, bounds: ReadAheadBounds = defaultBounds) {
    this.#read = read;
    this.#size = size;
    this.#bounds = bounds;
  }

  /** As `Disk.read`. */
  async read(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    this.#readers++;
    try {
      await this.#readOn(offset, target, signal);
    } finally {
      this.#readers--;
    }
  }

  /** Forgets what was read ahead. */
  drop(): void {
    this.#forget(0);
  }

  /** `idle`: how many of the readers are known not to look at what was read ahead. */
  #forget(idle: number): void {
    if (this.#pieces.length === 0) return;
    this.#abort.abort(new Error('nobody reads on'));
    this.#abort = new AbortController();
    for (const piece of this.#pieces) this.#give(piece, idle);
    this.#pieces = [];
  }

  /** Lets memory be used again, unless somebody reads from it, or it may still be written to. */
  #give({ settled, memory }: Piece, idle: number): void {
    if (settled && this.#readers <= idle && memory.length === largePieceBytes) giveLargePiece(memory);
  }

  async #readOn(offset: number, target: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    const end = offset + target.byteLength;
    // Several readers at once come a little out of order, and need nobody to read ahead for them.
    const isNear = Math.abs(offset - this.#next) <= this.#bounds.windowBytes;
    const isAlone = this.#readers === 1;
    if (offset === this.#next) this.#run += target.byteLength;
    else {
      if (!isNear) this.#forget(1);
      // One read alone, however long, is not yet one after another.
      this.#run = Math.min(target.byteLength, this.#bounds.afterBytes);
    }
    this.#next = isNear ? Math.max(this.#next, end) : end;
    const pieces = this.#pieces;
    let at = offset;
    for (const { from, bytes, there } of pieces) {
      if (at < from || at >= from + bytes.byteLength || at >= end) continue;
      if (!(await until(there, signal))) break;
      const part = bytes.subarray(at - from, Math.min(end - from, bytes.byteLength));
      target.set(part, at - offset);
      at += part.byteLength;
    }
    if (isAlone && this.#next === end && this.#run > this.#bounds.afterBytes) this.#goAhead(end);
    if (at < end) await this.#read(at, at === offset ? target : target.subarray(at - offset), signal);
  }

  /** Has the window after `from` under way. */
  #goAhead(from: number): void {
    const { windowBytes, pieceBytes } = this.#bounds;
    const isAhead = (piece: Piece): boolean => piece.from + piece.bytes.byteLength > from;
    for (const piece of this.#pieces) if (!isAhead(piece)) this.#give(piece, 1);
    const pieces = this.#pieces.filter(isAhead);
    const last = pieces.at(-1);
    let at = last ? last.from + last.bytes.byteLength : from;
    while (at < Math.min(from + windowBytes, this.#size)) {
      pieces.push(this.#begin(at, Math.min(pieceBytes, this.#size - at)));
      at += pieceBytes;
    }
    this.#pieces = pieces;
  }

  #begin(from: number, length: number): Piece {
    const { pieceBytes } = this.#bounds;
    const memory = pieceBytes === largePieceBytes ? takeLargePiece() : Buffer.allocUnsafeSlow(pieceBytes);
    const piece: Piece = {
      from,
      memory,
      bytes: memory.subarray(0, length),
      there: Promise.resolve(false),
      settled: false,
    };
    piece.there = this.#read(from, piece.bytes, this.#abort.signal).then(
      () => {
        piece.settled = true;
        return true;
      },
      () => false,
    );
    return piece;
  }
}

/** A wait that ends when the signal fires, with its reason. */
function until<T>(wait: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return wait;
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    wait.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
