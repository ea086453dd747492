import type { Attributes, Inode } from '../../attributes.js';
import type { Entry } from '../../tree.js';
import type { ToClient, Want } from '../messages.js';
import type { PackedEntries } from '../packed-entries.js';
import { FilesAhead } from './files-ahead.js';
import { type ListingPiece, ListingsAhead } from './listings-ahead.js';
import { OpeningHabit } from './opening-habit.js';
import { ReadingOrder } from './reading-order.js';
import { WalkingOrder } from './walking-order.js';

/**
 * Foretells what of a tree that never changes will be asked for next, and has it come before: a way between threads and back takes
 * longer than most answers.
 */
export class Foresight {
  readonly #want: (want: Want) => void;
  readonly #wantsListings: boolean;
  readonly #reading = new ReadingOrder();
  readonly #walking = new WalkingOrder();
  readonly #habit = new OpeningHabit();
  readonly #files = new FilesAhead();
  readonly #listings = new ListingsAhead();

  /** `wantsListings`: not from a tree that has to be told of each file that it told of and that is forgotten. */
  constructor(want: (want: Want) => void, wantsListings: boolean) {
    this.#want = want;
    this.#wantsListings = wantsListings;
  }

  /** Whether somebody waits for what is on its way. */
  get awaited(): boolean {
    return this.#listings.awaited;
  }

  /** Whether a file that is looked up will be opened next. */
  get opensWhatItFinds(): boolean {
    return this.#habit.opensWhatItFinds;
  }

  arrived(message: Extract<ToClient, { kind: 'files ahead' | 'listings ahead' }>): void {
    if (message.kind === 'files ahead') this.#files.arrived(message.files);
    else this.#listings.arrived(message.listings);
  }

  /** To be called with each file that was looked up, and with what it holds, where that came with it. */
  found({ inode, type }: Attributes, content: Uint8Array<ArrayBuffer> | undefined): void {
    if (type === 'file') this.#habit.found(inode);
    if (content) this.#files.came(inode, content);
  }

  /** A piece of a listing that has come or is about to. Undefined: it has to be asked for. */
  listing(piece: ListingPiece, signal: AbortSignal): Promise<PackedEntries | undefined> {
    return this.#listings.take(piece, signal);
  }

  /** To be called with each piece of a listing that was asked for. `next`: where another piece follows, if one does. */
  listed(folder: Inode, after: bigint, entries: readonly Entry[], next: bigint | undefined): void {
    if (this.#wantsListings) {
      const others = this.#walking.listed(folder, after, entries);
      const pieces = others.map((other): ListingPiece => ({ folder: other, after: 0n }));
      if (next !== undefined) pieces.unshift({ folder, after: next });
      const expected = this.#listings.expect(pieces);
      if (expected.length > 0) this.#want({ kind: 'want listings', pieces: expected });
    }
    this.#wantFiles(this.#reading.listed(folder, after, entries));
  }

  /** To be called with each file that is opened to be read. Gives what it holds, if that has come. */
  opened(inode: Inode): Uint8Array | undefined {
    this.#habit.opened(inode);
    const content = this.#files.take(inode);
    this.#wantFiles(this.#reading.opened(inode));
    return content;
  }

  forget(inode: Inode): void {
    this.#files.drop(inode);
  }

  clear(): void {
    this.#reading.clear();
    this.#walking.clear();
    this.#files.clear();
    this.#listings.clear();
  }

  #wantFiles(inodes: readonly Inode[]): void {
    if (inodes.length > 0) this.#want({ kind: 'want files', inodes });
  }
}
