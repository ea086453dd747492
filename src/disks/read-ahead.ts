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
  readonly there: Promise<boolean>;
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
    const end = offset + target.byteLength;
    if (offset === this.#next) this.#run += target.byteLength;
    else {
      this.drop();
      this.#run = target.byteLength;
    }
    this.#next = end;
    const pieces = this.#pieces;
    if (this.#run > this.#bounds.afterBytes) this.#goAhead(end);
    let at = offset;
    for (const { from, bytes, there } of pieces) {
      if (at < from || at >= from + bytes.byteLength || at >= end) continue;
      if (!(await until(there, signal))) break;
      const part = bytes.subarray(at - from, Math.min(end - from, bytes.byteLength));
      target.set(part, at - offset);
      at += part.byteLength;
    }
    if (at < end) await this.#read(at, at === offset ? target : target.subarray(at - offset), signal);
  }

  /** Forgets what was read ahead. */
  drop(): void {
    if (this.#pieces.length === 0) return;
    this.#abort.abort(new Error('nobody reads on'));
    this.#abort = new AbortController();
    this.#pieces = [];
  }

  /** Has the window after `from` under way. */
  #goAhead(from: number): void {
    const { windowBytes, pieceBytes } = this.#bounds;
    const { signal } = this.#abort;
    const pieces = this.#pieces.filter((piece) => piece.from + piece.bytes.byteLength > from);
    const last = pieces.at(-1);
    let at = last ? last.from + last.bytes.byteLength : from;
    while (at < Math.min(from + windowBytes, this.#size)) {
      const bytes = new Uint8Array(Math.min(pieceBytes, this.#size - at));
      const there = this.#read(at, bytes, signal).then(
        () => true,
        () => false,
      );
      pieces.push({ from: at, bytes, there });
      at += bytes.byteLength;
    }
    this.#pieces = pieces;
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
