import { SharedWait } from '../shared-wait.js';

/** Something that is open and can be closed. */
export interface Closable {
  close(): Promise<void>;
}

/** One use of something shared; it stays open at least until `release`. */
export interface Loan<T> {
  readonly value: T;
  release(): void;
}

interface Shelf<T> {
  readonly value: T;
  uses: number;
  idle: NodeJS.Timeout | undefined;
}

export interface LendingOptions<T> {
  /** At most so many that nobody uses stay open; those used last are kept. */
  readonly mostIdle: number;
  /** And no more than hold so many bytes of memory together. */
  readonly mostIdleBytes?: number;
  readonly bytesOf?: (value: T) => number;
  /** For so long something that nobody uses stays open. */
  readonly idleMilliseconds: number;
  /** Called with what goes wrong in closing, which nobody waits for. */
  readonly closeFailed: (error: unknown) => void;
}

/**
 * Opens each thing once, whoever asks for it meanwhile, lends it to many, and keeps it open a while after the last
 * has given it back. Who stops waiting for an opening does not end it for the others.
 */
export class Lending<T extends Closable> {
  readonly #options: LendingOptions<T>;
  readonly #shelves = new Map<string, Shelf<T>>();
  readonly #opening = new Map<string, SharedWait<Shelf<T>>>();
  /** Keys of what nobody uses, least recently used first. */
  readonly #idle = new Set<string>();
  readonly #closing = new Set<Promise<void>>();
  #closed = false;

  constructor(options: LendingOptions<T>) {
    this.#options = options;
  }

  async borrow(
    key: string,
    open: (signal: AbortSignal) => Promise<T>,
    signal: AbortSignal,
  ): Promise<Loan<T>> {
    signal.throwIfAborted();
    const shelf = this.#shelves.get(key) ?? (await this.#opened(key, open, signal));
    return this.#lend(key, shelf);
  }

  /** Closes what is open under certain keys, also what is lent: whoever still uses it gets errors. */
  drop(wanted: (key: string) => boolean): void {
    for (const [key, shelf] of this.#shelves) if (wanted(key)) this.#remove(key, shelf);
  }

  /** Closes everything, also what is lent: whoever still uses it gets errors. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const [key, shelf] of this.#shelves) this.#remove(key, shelf);
    await Promise.all(this.#closing);
  }

  #opened(key: string, open: (signal: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<Shelf<T>> {
    let opening = this.#opening.get(key);
    if (!opening || opening.abandoned) {
      opening = new SharedWait((shared) => this.#open(key, open, shared));
      this.#opening.set(key, opening);
    }
    return opening.wait(signal);
  }

  async #open(
    key: string,
    open: (signal: AbortSignal) => Promise<T>,
    signal: AbortSignal,
  ): Promise<Shelf<T>> {
    try {
      const value = await open(signal);
      const shelf: Shelf<T> = { value, uses: 0, idle: undefined };
      if (signal.aborted || this.#closed) {
        this.#closeValue(value);
        signal.throwIfAborted();
        throw new Error('opened too late: all is being closed');
      }
      this.#shelves.set(key, shelf);
      // A use of its own, until all who waited for the opening have taken theirs.
      const own = this.#lend(key, shelf);
      setImmediate(() => own.release());
      return shelf;
    } finally {
      if (!signal.aborted) this.#opening.delete(key);
    }
  }

  #lend(key: string, shelf: Shelf<T>): Loan<T> {
    shelf.uses++;
    clearTimeout(shelf.idle);
    this.#idle.delete(key);
    let released = false;
    const release = (): void => {
      if (released) return;
      released = true;
      shelf.uses--;
      if (shelf.uses === 0) this.#leaveIdle(key, shelf);
    };
    return { value: shelf.value, release };
  }

  #leaveIdle(key: string, shelf: Shelf<T>): void {
    if (this.#shelves.get(key) !== shelf) return; // closed already
    shelf.idle = setTimeout(() => this.#remove(key, shelf), this.#options.idleMilliseconds);
    shelf.idle.unref();
    this.#idle.add(key);
    const { mostIdle, mostIdleBytes = Number.POSITIVE_INFINITY } = this.#options;
    let bytes = this.#idleBytes();
    for (const oldest of this.#idle) {
      if (this.#idle.size <= mostIdle && bytes <= mostIdleBytes) break;
      const least = this.#shelves.get(oldest);
      if (!least) continue;
      bytes -= this.#bytesOf(least);
      this.#remove(oldest, least);
    }
  }

  #idleBytes(): number {
    let bytes = 0;
    for (const key of this.#idle) {
      const shelf = this.#shelves.get(key);
      if (shelf) bytes += this.#bytesOf(shelf);
    }
    return bytes;
  }

  #bytesOf({ value }: Shelf<T>): number {
    return this.#options.bytesOf?.(value) ?? 0;
  }

  #remove(key: string, shelf: Shelf<T>): void {
    clearTimeout(shelf.idle);
    this.#idle.delete(key);
    this.#shelves.delete(key);
    this.#closeValue(shelf.value);
  }

  #closeValue(value: T): void {
    const closing: Promise<void> = value
      .close()
      .catch(this.#options.closeFailed)
      .finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }
}
