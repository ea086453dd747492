import type { Disk } from '../disks/disk.js';
import type { Logger } from '../log.js';
import type { Time } from '../time.js';
import type { Tree } from '../tree/tree.js';
import type { Changes } from './changes.js';
import type { Lending } from './lending.js';
import type { NodeAttributes } from './node.js';
import type { OpenedBackups } from './opened-backups.js';
import type { OpenedDisks } from './opened-disks.js';
import type { OpenedInspections } from './opened-inspections.js';
import type { Still } from './still.js';

/** What all nodes of a layout share. */
export interface LayoutContext {
  readonly backups: OpenedBackups;
  readonly disks: OpenedDisks;
  /** What is inside disks. */
  readonly inspections: OpenedInspections;
  /** Stored files that are shown as they are. */
  readonly files: Lending<Disk>;
  /** Trees that stand upon the layout's folders. */
  readonly trees: Lending<Tree>;
  /** Who owns the layout's own nodes: who serves it. */
  readonly owner: { readonly uid: number; readonly gid: number };
  /** The time of what has none of its own. */
  readonly began: Time;
  readonly log: Logger;
  readonly changes: Changes;
  /** To be called with a snapshot that has ended. */
  ended(still: Still): void;
}

/** For how long an answer holds about what can change in a store, in seconds. */
export const shortly = 1;

interface FolderFacts {
  readonly permissions?: number;
  /** How many folders are in it, where that is known at no cost. */
  readonly folders?: number;
  readonly modified: Time;
  readonly freshSeconds: number;
}

/**
 * Stat of a folder. Where its subfolders are not counted its link count is 1, as Btrfs has it, which tells tools such as
 * find(1) not to reckon with it.
 */
export function folderAttributes(context: LayoutContext, facts: FolderFacts): NodeAttributes {
  return {
    type: 'directory',
    permissions: facts.permissions ?? 0o755,
    links: facts.folders === undefined ? 1 : 2 + facts.folders,
    ...context.owner,
    size: 0,
    allocated: 0,
    accessed: facts.modified,
    modified: facts.modified,
    changed: facts.modified,
    freshSeconds: facts.freshSeconds,
  };
}

interface FileFacts {
  readonly permissions?: number;
  readonly size: number;
  readonly allocated: number;
  readonly modified: Time;
  readonly freshSeconds: number;
}

export function fileAttributes(context: LayoutContext, facts: FileFacts): NodeAttributes {
  return {
    type: 'file',
    permissions: facts.permissions ?? 0o400,
    links: 1,
    ...context.owner,
    size: facts.size,
    allocated: facts.allocated,
    accessed: facts.modified,
    modified: facts.modified,
    changed: facts.modified,
    freshSeconds: facts.freshSeconds,
  };
}
