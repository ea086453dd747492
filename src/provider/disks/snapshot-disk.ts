import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { codeOf, hasCode, messageOf, StillError } from '../../errors.js';
import { seek } from '../../posix/seek.js';
import type { Holes } from './block-runs.js';

/** A disk of a snapshot, as the mount shows it: `disks/<disk>.raw`. */
export class SnapshotDisk implements Holes {
  private constructor(
    readonly path: string,
    readonly sizeBytes: number,
    private readonly file: FileHandle,
    /** Whether it can be given back range by range. */
    readonly writable: boolean,
  ) {}

  static async open(path: string, sizeBytes: number): Promise<SnapshotDisk> {
    const { file, writable } = await openForBoth(path);
    try {
      const { size } = await file.stat();
      if (size !== sizeBytes)
        throw new StillError('EIO', `${path} has ${size} bytes, and snapshot.json says ${sizeBytes}`);
      return new SnapshotDisk(path, sizeBytes, file, writable);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get descriptor(): number {
    return this.file.fd;
  }

  /** Fills the whole of a target from an offset on. */
  async read(offset: number, target: Uint8Array): Promise<void> {
    for (let done = 0; done < target.length; ) {
      let bytesRead: number;
      try {
        ({ bytesRead } = await this.file.read(target, done, target.length - done, offset + done));
      } catch (error) {
        throw new StillError(
          codeOf(error),
          `${this.path} can't be read at ${offset + done}: ${messageOf(error)}`,
        );
      }
      if (bytesRead === 0) throw new StillError('EIO', `${this.path} ends at ${offset + done}`);
      done += bytesRead;
    }
  }

  nextData(offset: number): Promise<number> {
    return this.#seek(offset, 'data');
  }

  nextHole(offset: number): Promise<number> {
    return this.#seek(offset, 'hole');
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  async #seek(offset: number, wanted: 'data' | 'hole'): Promise<number> {
    try {
      return await seek(this.file.fd, offset, wanted);
    } catch (error) {
      if (hasCode(error, 'ENXIO')) return this.sizeBytes;
      throw error;
    }
  }
}

/** A mount that is read-only gives nothing back, but shows its snapshots all the same. */
async function openForBoth(path: string): Promise<{ file: FileHandle; writable: boolean }> {
  try {
    return { file: await open(path, constants.O_RDWR), writable: true };
  } catch (error) {
    if (!hasCode(error, 'EROFS') && !hasCode(error, 'EACCES')) throw error;
    return { file: await open(path, constants.O_RDONLY), writable: false };
  }
}
