import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, messageOf, StillError } from '../../errors.js';

const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

/**
 * The file that keeps what the guest overwrites: exactly the disk's size, sparse, and without a name, so that nothing is
 * left of it when QEMU and we have closed it.
 */
export class FleecingImage {
  private constructor(
    private readonly file: FileHandle,
    readonly sizeBytes: number,
  ) {}

  static async create(folder: string, sizeBytes: number): Promise<FleecingImage> {
    let file: FileHandle | undefined;
    try {
      file = await nameless(folder);
      await file.truncate(sizeBytes);
      return new FleecingImage(file, sizeBytes);
    } catch (error) {
      await file?.close();
      const code = hasCode(error, 'ENOSPC') ? 'ENOSPC' : 'EIO';
      throw new StillError(
        code,
        `no fleecing image can be made in ${folder}, which needs to be a writable folder: ${messageOf(error)}`,
        { cause: error },
      );
    }
  }

  get descriptor(): number {
    return this.file.fd;
  }

  /** What it takes up in its folder's file system, in bytes. */
  async allocatedBytes(): Promise<number> {
    return (await this.file.stat()).blocks * 512;
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  /** Gives its space back, also where QEMU still holds it: of a guest that stands still it closes nothing. */
  async empty(): Promise<void> {
    await this.file.truncate(0);
  }
}

async function nameless(folder: string): Promise<FileHandle> {
  try {
    return await open(folder, O_TMPFILE | constants.O_RDWR, 0o600);
  } catch (error) {
    // Not every file system has nameless files.
    if (!hasCode(error, 'EOPNOTSUPP') && !hasCode(error, 'EISDIR')) throw error;
  }
  // Where files that are open can't go, as on NFS, it has another name until it is closed: so none of its folder's.
  const path = join(folder, `.stillfs-${randomBytes(8).toString('hex')}`);
  const file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
  try {
    await unlink(path);
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}
