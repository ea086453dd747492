import type { Time } from '../time.js';

/** A file's number within its tree: 64 bits, unsigned. */
export type Inode = bigint;

export const fileTypes = ['file', 'directory', 'symlink', 'block', 'character', 'fifo', 'socket'] as const;
export type FileType = (typeof fileTypes)[number];

/** What stat(2) tells, without what only a mount knows (st_dev, and st_ino as the mount shows it). */
export interface Attributes {
  readonly inode: Inode;
  readonly type: FileType;
  /** The lower twelve bits of the mode: permissions, setuid, setgid, sticky. */
  readonly permissions: number;
  readonly links: number;
  readonly uid: number;
  readonly gid: number;
  /** The device that a `block` or `character` node stands for. */
  readonly device?: { readonly major: number; readonly minor: number };
  /** Bytes. */
  readonly size: number;
  /** Bytes that take up room; st_blocks is this in units of 512, rounded up. */
  readonly allocated: number;
  readonly accessed: Time;
  readonly modified: Time;
  readonly changed: Time;
  /** How long these attributes hold, in seconds. Infinity: as long as the mount. 0: ask each time. */
  readonly freshSeconds: number;
  /** True for a file that is known to have no extended attributes at all. */
  readonly bare?: true | undefined;
  /** True for a folder that another tree is grafted upon: `Tree.graft` gives it. */
  readonly graft?: boolean;
}
