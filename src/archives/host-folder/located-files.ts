import { hasCode, StillError } from '../../errors.js';
import type { Name } from '../../name.js';
import { closeNamed } from '../../posix/named-descriptor.js';
import { O_PATH, openBeneath, openBeneathIfCached } from '../../posix/openat2.js';
import {
  entryStatusIfCached,
  type FileStatus,
  statusIfCached,
  statusOf,
  statusOfEntry,
} from '../../posix/statx.js';
import type { QueueDepth } from '../../queue-depth.js';
import type { Inode } from '../../tree/attributes.js';
import type { InodeNumbers } from './inode-numbers.js';
import type { KnownFiles, Place } from './known-files.js';
import type { OpenFolders } from './open-folders.js';

/** A file that an O_PATH descriptor names. */
export interface NamedFile {
  readonly descriptor: number;
  readonly status: FileStatus;
}

/**
 * Finds files by their places. Each way first tries what the kernel has in memory, in this thread (a few µs), then goes
 * through the pool and the store's queue depth (some 50 µs for each call, and whatever the disk or server takes). A
 * known file must still be the one that was found at its place: ESTALE.
 */
export class LocatedFiles {
  readonly #depth: QueueDepth;
  readonly #known: KnownFiles;
  readonly #folders: OpenFolders;
  readonly #numbers: InodeNumbers;

  constructor(depth: QueueDepth, known: KnownFiles, folders: OpenFolders, numbers: InodeNumbers) {
    this.#depth = depth;
    this.#known = known;
    this.#folders = folders;
    this.#numbers = numbers;
  }

  /** The status of a known file. */
  async status(inode: Inode, signal: AbortSignal): Promise<FileStatus> {
    const { folder, name } = this.#placeOf(inode);
    try {
      const status = this.entryNow(folder, name) ?? (await this.entryLater(folder, name, signal));
      this.#check(inode, status);
      return status;
    } catch (error) {
      throw staleIfGone(inode, error);
    }
  }

  /** The status of a name in a folder; undefined where the disk or a server would have to be asked. ENOENT: it is not there. */
  entryNow(folder: Inode, name: Name): FileStatus | undefined {
    const descriptor = this.#folders.now(folder);
    if (descriptor === undefined) return undefined;
    return name === '' ? statusIfCached(descriptor) : entryStatusIfCached(descriptor, name);
  }

  entryLater(folder: Inode, name: Name, signal: AbortSignal): Promise<FileStatus> {
    return this.#depth.run(async () => {
      const held = await this.#folders.later(folder);
      try {
        return await (name === '' ? statusOf(held.number) : statusOfEntry(held.number, name));
      } finally {
        held.letGo();
      }
    }, signal);
  }

  /** Calls with a known file in this thread; undefined where that would wait. */
  now<T>(inode: Inode, call: (file: NamedFile) => T): T | undefined {
    const file = this.#nameNow(inode);
    if (!file) return undefined;
    try {
      return call(file);
    } finally {
      closeNamed(file.descriptor);
    }
  }

  /** Calls with a known file in the pool; after an abort the call goes on to its end, so that nobody closes what it uses. */
  later<T>(
    inode: Inode,
    signal: AbortSignal,
    call: (file: NamedFile) => Promise<T>,
    discard?: (late: T) => void,
  ): Promise<T> {
    return this.#depth.run(
      async () => {
        const file = this.#nameNow(inode) ?? (await this.#nameLater(inode));
        try {
          return await call(file);
        } finally {
          closeNamed(file.descriptor);
        }
      },
      signal,
      discard,
    );
  }

  #nameNow(inode: Inode): NamedFile | undefined {
    const { folder, name } = this.#placeOf(inode);
    const from = this.#folders.now(folder);
    if (from === undefined) return undefined;
    let descriptor: number;
    try {
      descriptor = openBeneathIfCached(from, name, O_PATH);
    } catch (error) {
      if (hasCode(error, 'EAGAIN')) return undefined;
      throw staleIfGone(inode, error);
    }
    let status: FileStatus | undefined;
    try {
      status = statusIfCached(descriptor);
      if (status) this.#check(inode, status);
    } catch (error) {
      closeNamed(descriptor);
      throw error;
    }
    if (status) return { descriptor, status };
    closeNamed(descriptor);
    return undefined;
  }

  async #nameLater(inode: Inode): Promise<NamedFile> {
    const { folder, name } = this.#placeOf(inode);
    const from = await this.#folders.later(folder);
    let descriptor: number | undefined;
    try {
      descriptor = await openBeneath(from.number, name, O_PATH);
      const status = await statusOf(descriptor);
      this.#check(inode, status);
      return { descriptor, status };
    } catch (error) {
      if (descriptor !== undefined) closeNamed(descriptor);
      throw staleIfGone(inode, error);
    } finally {
      from.letGo();
    }
  }

  /** The root is found in itself, by the empty name. */
  #placeOf(inode: Inode): Place {
    return this.#known.placeOf(inode) ?? { folder: inode, name: '' as Name };
  }

  #check(inode: Inode, status: FileStatus): void {
    if (this.#numbers.numberOf(status) !== inode) {
      throw new StillError('ESTALE', `another file has the name of inode ${inode} by now; look it up anew`);
    }
  }
}

/** That a known file is not there any more is ESTALE, not ENOENT. */
function staleIfGone(inode: Inode, error: unknown): unknown {
  if (!hasCode(error, 'ENOENT') && !hasCode(error, 'ENOTDIR')) return error;
  return new StillError('ESTALE', `inode ${inode} is not where it was found; look it up anew`, {
    cause: error,
  });
}
