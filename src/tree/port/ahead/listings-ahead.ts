import { LRUCache } from 'lru-cache';
import { type Fields, fields, items, sixtyFourBits, unexpected } from '../../../port/fields.js';
import type { Inode } from '../../attributes.js';
import { type PackedEntries, parsePacked } from '../packed-entries.js';
import { mostFoldersAhead } from './walking-order.js';

/** So many pieces of listings are asked for at a time, at most: the first of some folders, and the next of the one that is listed. */
export const mostListingsAhead = 2 * mostFoldersAhead + 1;

/** A piece of a folder's listing: what follows a cookie. */
export interface ListingPiece {
  readonly folder: Inode;
  readonly after: bigint;
}

/** One that goes through a port before it is asked for. Without `entries`: it could not be listed. */
export interface ListedPiece extends ListingPiece {
  readonly entries: PackedEntries | undefined;
}

export function parsePieces(value: unknown): readonly ListingPiece[] {
  const pieces = items(value, 'pieces');
  return pieces.length > mostListingsAhead ? unexpected('pieces') : pieces.map(parsePiece);
}

function parsePiece(value: unknown): ListingPiece {
  const { folder, after } = fields(value);
  return { folder: sixtyFourBits(folder, 'folder'), after: sixtyFourBits(after, 'after') };
}

export function parseListed({ listings }: Fields): readonly ListedPiece[] {
  return items(listings, 'listings').map((listing) => {
    const { entries } = fields(listing);
    return { ...parsePiece(listing), entries: entries === undefined ? undefined : parsePacked(entries) };
  });
}

/** Bytes for all trees together; what came first and is not used goes first. */
const mostBytes = 8 * 1024 * 1024;
/** About what a piece costs beside its bytes. */
const overheadBytes = 512;

/** A piece that is asked for, or has come. */
interface Held {
  state: 'coming' | { readonly entries: PackedEntries };
  /** Called when it has come, and when it will not come. */
  settle: ((entries: PackedEntries | undefined) => void) | undefined;
  drop(): void;
}

const kept = new LRUCache<Held, number>({
  maxSize: mostBytes,
  sizeCalculation: (bytes) => bytes + overheadBytes,
  dispose: (_, held) => held.drop(),
});

/** The pieces of one tree's listings that come before they are asked for. */
export class ListingsAhead {
  readonly #held = new Map<string, Held>();
  #waiting = 0;

  /** Whether somebody waits for one that is on its way. */
  get awaited(): boolean {
    return this.#waiting > 0;
  }

  /** Takes note of pieces that are worth asking for. Gives those that are neither here nor on their way. */
  expect(pieces: readonly ListingPiece[]): readonly ListingPiece[] {
    return pieces.filter((piece) => {
      const key = keyOf(piece);
      if (this.#held.has(key)) return false;
      const drop = (): void => void this.#held.delete(key);
      this.#held.set(key, { state: 'coming', settle: undefined, drop });
      return true;
    });
  }

  arrived(listings: readonly ListedPiece[]): void {
    for (const { entries, ...piece } of listings) {
      const held = this.#held.get(keyOf(piece));
      if (held?.state !== 'coming') continue;
      if (held.settle || !entries) {
        held.drop();
        held.settle?.(entries);
      } else {
        held.state = { entries };
        kept.set(held, entries.memory.byteLength);
      }
    }
  }

  /** A piece that has come, or is about to; it is here no more then. Undefined: it has to be asked for. */
  async take(piece: ListingPiece, signal: AbortSignal): Promise<PackedEntries | undefined> {
    const held = this.#held.get(keyOf(piece));
    if (!held) return undefined;
    if (held.state !== 'coming') {
      kept.delete(held);
      return held.state.entries;
    }
    // One waits for it; whoever else wants the same asks for it.
    if (held.settle) return undefined;
    this.#waiting++;
    return new Promise<PackedEntries | undefined>((resolve, reject) => {
      const abort = (): void => reject(signal.reason);
      signal.addEventListener('abort', abort, { once: true });
      held.settle = (entries) => {
        signal.removeEventListener('abort', abort);
        resolve(entries);
      };
    }).finally(() => {
      held.settle = undefined;
      this.#waiting--;
    });
  }

  /** Nothing more comes: who waits has to ask, and is told why. */
  clear(): void {
    for (const held of [...this.#held.values()]) {
      if (held.state === 'coming') held.drop();
      else kept.delete(held);
      held.settle?.(undefined);
    }
    this.#held.clear();
  }
}

function keyOf({ folder, after }: ListingPiece): string {
  return `${folder} ${after}`;
}
