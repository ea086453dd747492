import type { Name } from '../name.js';
import type { Attributes, FileType, Inode } from '../tree/attributes.js';
import type { Capacity } from '../tree/tree.js';

/** The kinds of file systems that are read, as blkid(8) calls them. */
export const fileSystemKinds = ['ext2', 'ext3', 'ext4', 'exfat', 'ntfs', 'vfat', 'xfs'] as const;
export type FileSystemKind = (typeof fileSystemKinds)[number];

/** What tells a file system from others, written as blkid(8) and /etc/fstab write it. */
export interface FileSystemFacts {
  readonly kind: FileSystemKind;
  readonly uuid?: string;
  readonly label?: string;
}

export interface FileSystemOptions {
  readonly signal: AbortSignal;
  /** Called with each sentence about what is wrong with the file system; some come only as more of it is read. */
  readonly problem: (sentence: string) => void;
}

/**
 * A file system on a disk, read-only and never changing: what a reader of one kind gives, and `FileSystemTree` makes a
 * tree of. Errors common to all: EIO: it is damaged there; ESTALE: it has no such file. Every wait ends early, with the
 * signal's reason, when the signal is aborted.
 */
export interface FileSystem {
  readonly facts: FileSystemFacts;
  readonly root: Inode;
  /** The file of that number. Numbers from outside may be any: ESTALE where there is no such file. */
  node(inode: Inode, signal: AbortSignal): Promise<FileNode>;
  /**
   * What `node` would tell of a file by its attributes, without a wait: undefined where that takes one. Errors as there.
   */
  attributesNow(inode: Inode): Attributes | undefined;
  capacity(): Capacity;
  /** Lets go of everything, of the disk too. */
  close(): Promise<void>;
}

/** A file of any type, as its inode tells of it. */
export type FileNode = RegularFile | Folder | Symlink | SpecialFile;

interface AnyFile {
  /** They never change: `freshSeconds` is Infinity. `type` is the node's; `bare` where it has no `xattrs`. */
  readonly attributes: Attributes;
  /** The extended attributes by their names, ACLs among them; left out where the inode tells that there are none. */
  readonly xattrs?: (signal: AbortSignal) => Promise<ReadonlyMap<Name, Uint8Array>>;
}

export interface RegularFile extends AnyFile {
  readonly type: 'file';
  /** The bytes. It may fail: the file is encrypted, or where its bytes are is damaged. */
  content(signal: AbortSignal): Promise<FileContent>;
}

export interface Symlink extends AnyFile {
  readonly type: 'symlink';
  target(signal: AbortSignal): Promise<Uint8Array>;
}

export interface SpecialFile extends AnyFile {
  readonly type: 'block' | 'character' | 'fifo' | 'socket';
}

export interface Folder extends AnyFile {
  readonly type: 'directory';
  /** The entry of a name; `.` and `..` are never asked for. */
  find(name: Name, signal: AbortSignal): Promise<FolderEntry | undefined>;
  /**
   * Some entries after a cookie (0n: from the start), without `.` and `..`; none at the end. Names may be any bytes: what no name
   * can be is left out by `FileSystemTree`.
   */
  entries(after: bigint, signal: AbortSignal): Promise<readonly ListedEntry[]>;
  /** The folder that this one is in, where its own bytes tell. */
  parent?(signal: AbortSignal): Promise<Inode>;
}

/** What a folder tells of a file. */
export interface FolderEntry {
  readonly inode: Inode;
  /** Undefined where the folder does not tell. */
  readonly type: FileType | undefined;
}

export interface ListedEntry extends FolderEntry {
  readonly name: Name;
  /** Where to go on after this entry: from 1 to 2^62, ascending in the folder. */
  readonly cookie: bigint;
}

/** The bytes of a regular file. Ranges lie within the file's size. */
export interface FileContent {
  /** Fills the whole of `target` from `offset`. */
  read(offset: number, target: Uint8Array, signal: AbortSignal): Promise<void>;
  /**
   * What is in a range: pieces in ascending order, without gaps, the first beginning at `offset`; at least one where
   * length is not 0. They may end before the range does (ask again from there), or after it.
   */
  pieces(offset: number, length: number, signal: AbortSignal): Promise<readonly FilePiece[]>;
}

export interface FilePiece {
  readonly offset: number;
  readonly length: number;
  /** True: it reads as zeros, and nothing was allocated for it, or nothing was ever written there. */
  readonly hole: boolean;
}
