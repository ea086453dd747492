import type { Name } from '../name.js';
import type { Attributes, FileType, Inode } from './attributes.js';

/** What a look-up found. Without `attributes` the name is not there. */
export interface Found {
  readonly attributes?: Attributes;
  /** How long the answer to "what does this name stand for" holds, in seconds. Infinity: as long as the mount. */
  readonly freshSeconds: number;
}

/** A name in a folder's listing. `.` and `..` are never listed: they are the mount's to add. */
export interface Entry {
  readonly name: Name;
  readonly inode: Inode;
  readonly type: FileType;
  /**
   * Where to go on after this entry: opaque, unique in the folder, still good when the folder has changed. From 1 to
   * 2^63-1, but for 2^63-3 and 2^63-2, which are the mount's for `.` and `..`.
   */
  readonly cookie: bigint;
  /** With the attributes where they cost nothing; a grafted folder's are left out. */
  readonly found?: Found & { readonly attributes: Attributes };
}

/** What a file is opened for. */
export type Access = 'read' | 'write' | 'read-write';

/** An opened file. */
export interface Opened {
  /** Stands for the open file in `read`, `write`, `seek`, `discard`, `release`. Chosen by the tree, below 2^53. */
  readonly handle: number;
  /**
   * keep: the bytes never change, what the kernel has cached stays good. refresh: the kernel may cache, from this
   * open on. direct: the kernel does not cache; every read arrives here.
   */
  readonly cache: 'keep' | 'refresh' | 'direct';
  /**
   * Bytes: how much there is to read by this handle, where the file may come to be longer or shorter while it is open.
   * Only where the kernel does not cache.
   */
  readonly size?: number;
  /**
   * Bytes: the size of a file that never changes (`keep`) and is at hand, so that to read it now costs no more than to read it when it
   * is asked for. The kernel is given the bytes of a small one with the open.
   */
  readonly whole?: number;
  /** A descriptor whose bytes are the file's, for the kernel to read directly. It stays open until `release`. */
  readonly passthrough?: number;
}

/** A tree that stands upon a folder of another one. */
export interface Graft {
  readonly tree: Tree;
  /** Says that no inode and no handle of the tree is in use any more. The tree may be closed then. */
  release(): void;
}

/**
 * Opens a tree, which the caller closes. `problem` is called, then or later, with each sentence about what of it can't be
 * shown.
 */
export type OpenTree = (signal: AbortSignal, problem: (sentence: string) => void) => Promise<Tree>;

/** What a tree tells of itself changing, so that a kernel can forget what it has cached. */
export type Change =
  | { readonly kind: 'entry'; readonly folder: Inode; readonly name: Name }
  | { readonly kind: 'inode'; readonly inode: Inode };

/** What statfs(2) tells. */
export interface Capacity {
  /** Bytes. */
  readonly total: number;
  /** Bytes. */
  readonly free: number;
  readonly files: number;
}

/**
 * A tree of files, inode-style: numbers and plain values in and out, so that a million files need no million objects
 * and a tree can live behind a message port.
 *
 * Failures are `StillError`s or Node's system errors; their `code` is what the caller's system call returns. Common to
 * all: ESTALE for an inode that the tree does not know, ENOTDIR, EISDIR, EIO. Every wait ends early, with the signal's
 * reason, when `signal` is aborted. An operation that is left out is EROFS if it would change something, else EOPNOTSUPP.
 */
export interface Tree {
  readonly root: Inode;
  /** Bytes of this process's memory that the tree holds as long as it is open, where they are many. */
  readonly memoryBytes?: number;

  /** Finds a name in a folder. `..` finds the folder's parent (the root is its own); other names are entry names. */
  lookup(folder: Inode, name: Name, signal: AbortSignal): Promise<Found>;
  attributes(inode: Inode, signal: AbortSignal): Promise<Attributes>;
  /**
   * The entries of a folder after a cookie (0n: from the start), some at a time; none at the end. An entry that is
   * there from the first call to the last is given exactly once, whatever comes and goes beside it.
   */
  list(folder: Inode, after: bigint, signal: AbortSignal): Promise<readonly Entry[]>;
  /** The target of a symlink, as bytes. Nobody follows it here. */
  readlink(inode: Inode, signal: AbortSignal): Promise<Uint8Array>;
  /** The value of an extended attribute. ENODATA where there is none of that name. */
  xattr(inode: Inode, name: Name, signal: AbortSignal): Promise<Uint8Array>;
  /** The names of the extended attributes. */
  xattrs(inode: Inode, signal: AbortSignal): Promise<readonly Name[]>;

  /** Opens a file (never a folder or a device). */
  open(inode: Inode, access: Access, signal: AbortSignal): Promise<Opened>;
  /**
   * Reads into `target` and says how many bytes: all of it, or fewer only where the file ends. After a failure or an
   * abort `target` may still be written to, and must be thrown away.
   */
  read(handle: number, offset: number, target: Uint8Array, signal: AbortSignal): Promise<number>;
  /** The next data or hole at or after an offset, as lseek(2) defines them. ENXIO beyond the end, or where no data follows. */
  seek?(handle: number, offset: number, wanted: 'data' | 'hole', signal: AbortSignal): Promise<number>;
  /** Takes all of `bytes`, or fails. */
  write?(handle: number, offset: number, bytes: Uint8Array, signal: AbortSignal): Promise<void>;
  /** Gives a range back: fallocate(PUNCH_HOLE|KEEP_SIZE). */
  discard?(handle: number, offset: number, length: number, signal: AbortSignal): Promise<void>;
  /** Makes what was written last: fsync(2). */
  sync?(handle: number, signal: AbortSignal): Promise<void>;
  release(handle: number): Promise<void>;

  mkdir?(
    folder: Inode,
    name: Name,
    permissions: number,
    signal: AbortSignal,
  ): Promise<Found & { attributes: Attributes }>;
  rmdir?(folder: Inode, name: Name, signal: AbortSignal): Promise<void>;
  /** Sets a file's length: truncate(2), or open(2) with O_TRUNC. */
  truncate?(inode: Inode, size: number, signal: AbortSignal): Promise<void>;

  /** The tree upon a folder whose attributes say `graft`. The caller releases it. */
  graft?(folder: Inode, signal: AbortSignal): Promise<Graft>;
  /** Says that an inode is not referred to any more; a tree that keeps a table of them may drop it. */
  forget?(inode: Inode): void;
  capacity?(signal: AbortSignal): Promise<Capacity>;
  /** Has `listener` called at every change. Returns what ends that. */
  watch?(listener: (change: Change) => void): () => void;
  /** Lets go of everything. Whoever made the tree closes it. */
  close(): Promise<void>;
}
