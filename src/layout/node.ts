import type { Name } from '../name.js';
import type { Attributes, FileType } from '../tree/attributes.js';
import type { Graft } from '../tree/tree.js';

/** What stat tells of a node; its inode is the tree's to give. */
export type NodeAttributes = Omit<Attributes, 'inode'>;

interface AnyNode {
  /**
   * What the node is, for good: the names of the folders that lead to it in the stores, not as they are shown. Its
   * inode is made of this, so the same thing has the same number in the next mount.
   */
  readonly path: Name;
  /** Undefined for the root. */
  readonly parent: FolderNode | undefined;
  attributes(signal: AbortSignal): Promise<NodeAttributes>;
}

/** A name in a listing of the layout. */
export interface Row {
  readonly name: Name;
  readonly type: FileType;
  readonly path: Name;
  readonly cookie: bigint;
}

/** What a name in a folder stands for; without `node` it is not there. */
export interface Child {
  /** May turn out not to be there: then its attributes are ENOENT. */
  readonly node: Node | undefined;
  readonly freshSeconds: number;
}

export interface FolderNode extends AnyNode {
  readonly type: 'directory';
  child(name: Name, signal: AbortSignal): Promise<Child>;
  /** All rows, by ascending cookie. */
  rows(signal: AbortSignal): Promise<readonly Row[]>;
  /** mkdir(2), where the folder takes it: gives what was made. */
  make?(name: Name, signal: AbortSignal): Promise<FolderNode>;
  /** rmdir(2) of a name in the folder, where it takes that. */
  remove?(name: Name, signal: AbortSignal): Promise<void>;
  /** The tree that stands upon the folder, where one does. */
  graft?(signal: AbortSignal): Promise<Graft>;
}

export interface FileNode extends AnyNode {
  readonly type: 'file';
  /** Whether it may be opened for writing. What it takes then, the open file says. */
  readonly writable?: boolean;
  /** truncate(2) and O_TRUNC, where the file takes it. */
  truncate?(size: number, signal: AbortSignal): Promise<void>;
  open(signal: AbortSignal): Promise<OpenFile>;
  /** Forgets what it keeps of its contents for a short while: they are others now. */
  expire?(): void;
}

export interface SymlinkNode extends AnyNode {
  readonly type: 'symlink';
  readonly target: Name;
}

export type Node = FolderNode | FileNode | SymlinkNode;

/** An opened file of the layout. */
export interface OpenFile {
  readonly cache: 'keep' | 'refresh' | 'direct';
  readonly passthrough?: number;
  /** Bytes. */
  readonly size: number;
  read(offset: number, target: Uint8Array, signal: AbortSignal): Promise<number>;
  /** As lseek(2), for an offset within the file. A file without it has no holes. */
  seek?(offset: number, wanted: 'data' | 'hole', signal: AbortSignal): Promise<number>;
  /** Takes all of `bytes`, or fails. A file without it is never written to. */
  write?(offset: number, bytes: Uint8Array, signal: AbortSignal): Promise<void>;
  /** Gives a range back: fallocate(PUNCH_HOLE|KEEP_SIZE). */
  discard?(offset: number, length: number, signal: AbortSignal): Promise<void>;
  release(): void;
}
