import { setImmediate as nextTurn } from 'node:timers/promises';
import { type JoinedEntries, packEntries } from '../packed-entries.js';
import type { ListedPiece, ListingPiece } from './listings-ahead.js';

/** Listings that were not asked for yet are sent when they have so many entries together. */
const enoughEntries = 128;

/**
 * Lists what nobody has asked for yet, one piece after the other: whoever asks for something meanwhile is answered. Each piece is
 * sent, without entries where it can't be listed: who asks for it then will be told why.
 */
export async function sendListings(
  pieces: readonly ListingPiece[],
  list: (piece: ListingPiece) => Promise<JoinedEntries>,
  send: (listings: readonly ListedPiece[]) => void,
): Promise<void> {
  let listings: ListedPiece[] = [];
  let rows = 0;
  for (const [at, piece] of pieces.entries()) {
    const listed = await listedPiece(piece, list);
    listings.push(listed);
    rows += listed.entries?.rows ?? 0;
    if (rows < enoughEntries && at < pieces.length - 1) continue;
    send(listings);
    listings = [];
    rows = 0;
    await nextTurn();
  }
}

async function listedPiece(
  piece: ListingPiece,
  list: (piece: ListingPiece) => Promise<JoinedEntries>,
): Promise<ListedPiece> {
  try {
    return { ...piece, entries: packEntries(await list(piece)) };
  } catch {
    return { ...piece, entries: undefined };
  }
}
