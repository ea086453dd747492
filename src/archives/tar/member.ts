import type { Time } from '../../time.js';
import type { FileType } from '../../tree/attributes.js';

/** Where the extended header of a member lies in the archive, in bytes. */
export interface HeaderPlace {
  readonly at: number;
  readonly size: number;
}

/** One member of an archive as its headers tell of it. The buffers hold only until the next member is read. */
export interface Member {
  /** `link`: another name of the file at `target`. */
  readonly type: FileType | 'link';
  /** As it stands in the archive: not yet made harmless. */
  readonly path: Buffer;
  /** Of a link or a symlink. */
  readonly target: Buffer;
  readonly permissions: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of the file, holes included. */
  readonly size: number;
  /** Where a file's bytes begin in the archive. */
  readonly at: number;
  readonly modified: Time;
  readonly accessed: Time;
  readonly changed: Time;
  readonly device: { readonly major: number; readonly minor: number };
  /** Of a sparse file. */
  readonly segments: SparseMap | undefined;
  /** The extended headers that hold extended attributes: the member's own, and the one for all that follow it. */
  readonly ownHeader: HeaderPlace | undefined;
  readonly globalHeader: HeaderPlace | undefined;
  /** The file is there, but its bytes can't be told. */
  readonly unreadable: boolean;
}

/** What of a sparse file is data: offset in the file, length, offset, length…, ascending. */
export type SparseMap = readonly number[];
