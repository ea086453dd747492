import { type BigIntStats, close, fstat, read as readFile } from 'node:fs';
import { StillError } from '../errors.js';
import { type Name, nameToText } from '../name.js';
import { readCached } from '../posix/read-cached.js';
import { seek } from '../posix/seek.js';
import { type Time, timeFromNanoseconds } from '../time.js';
import type { StoreFolder } from './store-folder.js';

/** A regular file of a store, opened for reading. What it was when it was opened is what it is taken for. */
export class ImageFile {
  /** Calls that the system has not returned from, aborted ones too: the descriptor must outlive them. */
  #underWay = 0;
  #closing: Promise<void> | undefined;
  #idle: (() => void) | undefined;

  private constructor(
    /** For messages: the store's path and the file's. */
    readonly path: string,
    /** Bytes. */
    readonly size: number,
    readonly modified: Time,
    /** Device and inode: the same for two names of one file, for no two files. */
    readonly identity: string,
    readonly descriptor: number,
    private readonly folder: StoreFolder,
  ) {}

  /** Errors: what StoreFolder.openRegularFile tells, EFBIG for a file of more than 2^53 bytes. */
  static async open(folder: StoreFolder, path: Name, signal?: AbortSignal): Promise<ImageFile> {
    const shown = `${folder.path}/${nameToText(path)}`;
    const descriptor = await folder.openRegularFile(path, signal);
    try {
      const stats = await folder.depth.run(() => statsOf(descriptor), signal);
      if (stats.size > BigInt(Number.MAX_SAFE_INTEGER))
        throw new StillError('EFBIG', `${shown} is said to have ${stats.size} bytes; 2^53 is the most`);
      return new ImageFile(
        shown,
        Number(stats.size),
        timeFromNanoseconds(stats.mtimeNs),
        `${stats.dev}:${stats.ino}`,
        descriptor,
        folder,
      );
    } catch (error) {
      close(descriptor, () => undefined);
      throw error;
    }
  }

  /** Reads what the page cache holds of a range from its start on, without any wait. Says how many bytes. */
  readNow(offset: number, target: Uint8Array): number {
    this.#mustBeOpen();
    return readCached(this.descriptor, offset, target);
  }

  /** Reads a range, however long it takes, and says how many bytes: fewer than asked for only where the file ends. */
  async read(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<number> {
    let done = this.readNow(offset, target);
    while (done < target.length && offset + done < this.size) {
      const count = await this.#call(() => this.#readOnce(offset + done, target.subarray(done)), signal);
      if (count === 0) break;
      done += count;
    }
    return done;
  }

  /** The next data or hole at or after an offset; ENXIO past the end, or where no data follows. */
  seek(offset: number, wanted: 'data' | 'hole', signal?: AbortSignal): Promise<number> {
    return this.#call(() => seek(this.descriptor, offset, wanted), signal);
  }

  /** EIO where the file has become shorter since it was opened: what lies beyond its end now was something else. */
  async mustBeWhole(signal?: AbortSignal): Promise<void> {
    const stats = await this.#call(() => statsOf(this.descriptor), signal);
    if (stats.size < BigInt(this.size))
      throw new StillError('EIO', `${this.path} was cut from ${this.size} to ${stats.size} bytes while open`);
  }

  /** Lets go of the descriptor when the last call on it has returned. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#underWay > 0) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
    }
    // What close(2) could report concerns writes.
    await new Promise<void>((resolve) => close(this.descriptor, () => resolve()));
  }

  #readOnce(offset: number, target: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => {
      readFile(this.descriptor, target, 0, target.length, offset, (error, count) =>
        error
          ? reject(new StillError('EIO', `can't read ${this.path} at ${offset}`, { cause: error }))
          : resolve(count),
      );
    });
  }

  async #call<T>(call: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.folder.depth.run(async () => {
      this.#mustBeOpen();
      this.#underWay++;
      try {
        return await call();
      } finally {
        this.#underWay--;
        if (this.#underWay === 0) this.#idle?.();
      }
    }, signal);
  }

  /** A closed descriptor's number may be another file's by now. */
  #mustBeOpen(): void {
    if (this.#closing !== undefined) throw new StillError('EBADF', `${this.path} is closed`);
  }
}

function statsOf(descriptor: number): Promise<BigIntStats> {
  return new Promise((resolve, reject) => {
    fstat(descriptor, { bigint: true }, (error, stats) => (error ? reject(error) : resolve(stats)));
  });
}
