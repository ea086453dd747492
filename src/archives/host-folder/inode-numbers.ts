import { StillError } from '../../errors.js';
import type { FileStatus } from '../../posix/statx.js';
import type { Inode } from '../../tree/attributes.js';

// XFS, whose numbers are the largest of the local file systems, ends at 2^56 (XFS_MAXINUMBER).
const inodeBits = 56n;
const largestShared = 1n << inodeBits;
const mostFileSystems = 256;

/**
 * The inode numbers of a folder that other file systems may be mounted in. Files of the folder's own file system keep
 * their numbers; a file of another one (a subvolume, a mount) gets that one's place, from 1, in the upper 8 bits.
 */
export class InodeNumbers {
  readonly #places: Map<number, bigint>;
  #largeSeen = false;

  constructor(fileSystem: number) {
    this.#places = new Map([[fileSystem, 0n]]);
  }

  /** EOVERFLOW: the number could stand for a file of another file system too, so the file can't be shown. */
  numberOf({ fileSystem, inode }: Pick<FileStatus, 'fileSystem' | 'inode'>): Inode {
    const place = this.#places.get(fileSystem) ?? this.#newPlace(fileSystem);
    if (inode < largestShared) return (place << inodeBits) | inode;
    if (this.#places.size > 1) {
      throw new StillError('EOVERFLOW', `inode ${inode} is too large to be told from another file system's`);
    }
    this.#largeSeen = true;
    return inode;
  }

  /** The number of an inode in the file system of another file, as far as a listing tells it. */
  beside(other: Inode, inode: bigint): Inode {
    const place = this.#largeSeen ? 0n : other >> inodeBits;
    return inode < largestShared ? (place << inodeBits) | inode : inode;
  }

  #newPlace(fileSystem: number): bigint {
    const place = this.#places.size;
    if (place === mostFileSystems || this.#largeSeen) {
      const reason = this.#largeSeen
        ? 'its neighbours use all 64 bits'
        : `${mostFileSystems} others come first`;
      throw new StillError('EOVERFLOW', `the files of a mounted file system can't be numbered: ${reason}`);
    }
    this.#places.set(fileSystem, BigInt(place));
    return BigInt(place);
  }
}
