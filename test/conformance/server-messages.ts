import type { TreeName } from './trees/all.js';
import type { Plain } from './trees/tree-under-test.js';

/** What a test tells the process that serves its mount. */
export interface ToServer {
  readonly id: number;
  readonly request:
    | {
        readonly kind: 'command';
        readonly tree: TreeName;
        readonly command: string;
        readonly argument: Plain;
      }
    /** The log's lines since the last time. */
    | { readonly kind: 'log' }
    | { readonly kind: 'usage' }
    /** How many grafts of a tree are in use. */
    | { readonly kind: 'uses'; readonly tree: TreeName }
    | { readonly kind: 'unmount'; readonly force: boolean }
    /** Unmount by force, close all trees. */
    | { readonly kind: 'end' };
}

/** What the process that serves a mount tells the test. */
export type FromServer =
  | { readonly kind: 'mounted'; readonly lacks: readonly string[] }
  | { readonly kind: 'ended'; readonly error?: string }
  | { readonly kind: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'failure'; readonly id: number; readonly message: string; readonly code?: string };

/** What the serving process holds. */
export interface Usage {
  readonly descriptors: number;
  /** Bytes, after a collection. */
  readonly heap: number;
  /** Bytes. */
  readonly resident: number;
}
