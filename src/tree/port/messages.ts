import type { Name } from '../../name.js';
import type { Failure } from '../../port/failure.js';
import type { Inode } from '../attributes.js';
import type { Access, Change, Tree } from '../tree.js';
import type { PackedFiles } from './ahead/files-ahead.js';
import type { ListedPiece, ListingPiece } from './ahead/listings-ahead.js';

/**
 * What goes through the port of a hosted tree: plain values, told apart by `kind`. Both ends are of one version of the
 * program; still, whatever arrives is parsed (parse.ts) before anybody uses it.
 */

/** The operations of a tree that may be left out, and can be served through a port. */
export const optionalOperations = [
  'seek',
  'write',
  'discard',
  'sync',
  'mkdir',
  'rmdir',
  'truncate',
  'forget',
  'capacity',
  'watch',
] as const satisfies ReadonlyArray<keyof Tree>;
export type OptionalOperation = (typeof optionalOperations)[number];

/** One operation of the tree with what it needs, except the signal. */
export type Request =
  /** `whole`: what a small file holds is wanted with it, for it will be opened next, as it seems. */
  | { readonly operation: 'lookup'; readonly folder: Inode; readonly name: Name; readonly whole: boolean }
  | { readonly operation: 'attributes'; readonly inode: Inode }
  | { readonly operation: 'list'; readonly folder: Inode; readonly after: bigint }
  | { readonly operation: 'readlink'; readonly inode: Inode }
  | { readonly operation: 'xattr'; readonly inode: Inode; readonly name: Name }
  | { readonly operation: 'xattrs'; readonly inode: Inode }
  | { readonly operation: 'open'; readonly inode: Inode; readonly access: Access }
  | {
      readonly operation: 'read';
      readonly handle: number;
      readonly offset: number;
      readonly length: number;
      /** Memory of an earlier read that is done with, to be used again; at least `length` bytes. */
      readonly memory?: ArrayBuffer;
    }
  | {
      readonly operation: 'seek';
      readonly handle: number;
      readonly offset: number;
      readonly wanted: 'data' | 'hole';
    }
  | {
      readonly operation: 'write';
      readonly handle: number;
      readonly offset: number;
      readonly bytes: Uint8Array;
    }
  | {
      readonly operation: 'discard';
      readonly handle: number;
      readonly offset: number;
      readonly length: number;
    }
  | { readonly operation: 'sync'; readonly handle: number }
  | { readonly operation: 'release'; readonly handle: number }
  | {
      readonly operation: 'mkdir';
      readonly folder: Inode;
      readonly name: Name;
      readonly permissions: number;
    }
  | { readonly operation: 'rmdir'; readonly folder: Inode; readonly name: Name }
  | { readonly operation: 'truncate'; readonly inode: Inode; readonly size: number }
  | { readonly operation: 'capacity' }
  | { readonly operation: 'close' };

/** From who uses a hosted tree to who serves it. `received` is the number of the last answer that has arrived. */
export type ToServer =
  /** The first message: what the tree is to be made from. */
  | { readonly kind: 'make'; readonly data: unknown }
  | { readonly kind: 'request'; readonly id: number; readonly received: number; readonly request: Request }
  | { readonly kind: 'abort'; readonly id: number }
  | { readonly kind: 'forget'; readonly inode: Inode; readonly received: number }
  | { readonly kind: 'watch'; readonly on: boolean }
  | Want
  /** Nobody waits for the tree to be made any more. */
  | { readonly kind: 'unmake' }
  | { readonly kind: 'ping' };

/** What will be asked for next, as it seems. */
export type Want =
  /** Files that will be opened. They may come, or not. */
  | { readonly kind: 'want files'; readonly inodes: readonly Inode[] }
  /** All of them come, with what they list or without. */
  | { readonly kind: 'want listings'; readonly pieces: readonly ListingPiece[] };

/** From who serves a tree to who uses it. Answers are numbered from 1 in the order in which they are sent. */
export type ToClient =
  | {
      readonly kind: 'ready';
      readonly root: Inode;
      readonly operations: readonly OptionalOperation[];
    }
  | { readonly kind: 'unmade'; readonly failure: Failure }
  | { readonly kind: 'answer'; readonly id: number; readonly number: number; readonly value: unknown }
  | { readonly kind: 'failure'; readonly id: number; readonly number: number; readonly failure: Failure }
  | { readonly kind: 'change'; readonly change: Change }
  | { readonly kind: 'files ahead'; readonly files: PackedFiles }
  | { readonly kind: 'listings ahead'; readonly listings: readonly ListedPiece[] }
  | { readonly kind: 'pong' };
