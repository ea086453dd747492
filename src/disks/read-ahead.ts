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
  /** Memory of pieces that were read through: used again, or a disk's reading would leave its own size to the garbage collector. */
  #spare: Uint8Array[] = [];
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
    if (this.#pieces.length === 0) return;
    this.#abort.abort(new Error('nobody reads on'));
    this.#abort = new AbortController();
    this.#pieces = [];
  }

  async #readOn(offset: number, target: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    const end = offset + target.byteLength;
    if (offset === this.#next) this.#run += target.byteLength;
    else {
      this.drop();
      this.#run = target.byteLength;
    }
    this.#next = end;
    const pieces = this.#pieces;
    let at = offset;
    for (const { from, bytes, there } of pieces) {
      if (at < from || at >= from + bytes.byteLength || at >= end) continue;
      if (!(await until(there, signal))) break;
      const part = bytes.subarray(at - from, Math.min(end - from, bytes.byteLength));
      target.set(part, at - offset);
      at += part.byteLength;
    }
    if (this.#next === end && this.#run > this.#bounds.afterBytes) this.#goAhead(end);
    if (at < end) await this.#read(at, at === offset ? target : target.subarray(at - offset), signal);
  }

  /** Has the window after `from` under way. */
  #goAhead(from: number): void {
    const { windowBytes, pieceBytes } = this.#bounds;
    const isAhead = (piece: Piece): boolean => piece.from + piece.bytes.byteLength > from;
    for (const piece of this.#pieces) {
      // Another reader may still look at it.
      if (!isAhead(piece) && piece.settled && this.#readers === 1 && piece.bytes.byteLength === pieceBytes)
        this.#spare.push(piece.bytes);
    }
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
    const memory = this.#spare.pop() ?? new Uint8Array(this.#bounds.pieceBytes);
    const piece: Piece = {
      from,
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
