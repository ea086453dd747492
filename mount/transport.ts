import type { Logger } from '../src/log.js';
import type { Tree } from '../src/tree/tree.js';

/** How a mount is made and who may see it. */
export interface MountOptions {
  /** Where: a folder, or `/dev/fd/N` for a descriptor of /dev/fuse that somebody else has mounted already. */
  readonly mountpoint: string;
  /** What findmnt(8) shows as the source. */
  readonly source: string;
  /** Lets other users in; the kernel then checks permissions. */
  readonly allowOther: boolean;
  /** Mounts so that nothing can be changed, not even by mkdir or discard where the tree would allow it. */
  readonly readOnly: boolean;
  readonly log: Logger;
}

/** A tree that is mounted. */
export interface Mounted {
  /** What this mount can't do that a caller may expect, one sentence each. */
  readonly lacks: readonly string[];
  /** Settles when the mount has ended, whoever ended it; rejects if serving it failed. */
  readonly ended: Promise<void>;
  /** Ends the mount: requests under way are aborted, the kernel lets go, `ended` settles. EBUSY: files are in use. */
  unmount(options?: { readonly force?: boolean }): Promise<void>;
}

/** A way to the kernel: takes a tree, gives a mounted directory. Resolves when the mount answers. */
export type Transport = (tree: Tree, options: MountOptions) => Promise<Mounted>;
