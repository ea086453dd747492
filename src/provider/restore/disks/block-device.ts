import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { codeOf, hasCode, messageOf, StillError } from '../../../errors.js';
import { punchHole } from '../../../posix/punch-hole.js';
import { deviceBytes, writersOf } from './device-use.js';
import type { DiskTarget } from './disk-target.js';
import { writeAll } from './raw-file.js';

const run = promisify(execFile);

/**
 * What is written last, in bytes: as long as it is missing, nobody takes for whole what was not restored to its end. Where
 * partition tables, boot sectors and most file systems begin.
 */
const headBytes = 2 ** 20;
/** So much is zeroed by one call, so that an abort does not wait for long. */
const zeroedAtOnce = 2 ** 30;
const zeros = Buffer.alloc(2 ** 20);

/**
 * Restores a disk to a block device; what lies beyond the disk's end stays as it is. EBUSY: somebody uses the device, which is never
 * overwritten. ENOSPC: it is too small. EEXIST: there is something on it, and it is not to be overwritten.
 */
export async function openBlockDevice(
  path: string,
  sizeBytes: number,
  overwrite: boolean,
): Promise<DiskTarget> {
  const { rdev } = await stat(path);
  const file = await openAlone(path);
  try {
    const writers = await writersOf(rdev);
    if (writers.length > 0)
      throw new StillError('EBUSY', `${path} is in use by ${writers.join(', ')}, and is not written`);
    const room = await deviceBytes(rdev);
    if (room < sizeBytes)
      throw new StillError('ENOSPC', `${path} has ${room} bytes, and the disk ${sizeBytes}`);
    const content = overwrite ? undefined : await signatureOn(path);
    if (content !== undefined)
      throw new StillError('EEXIST', `${path} is not empty: it holds ${content}; --overwrite replaces it`);
    return new BlockDevice(path, file, sizeBytes);
  } catch (error) {
    await file.close();
    throw error;
  }
}

class BlockDevice implements DiskTarget {
  readonly #head: Buffer;
  #isClosed = false;
  #isBegun: Promise<void> | undefined;
  #canPunch = true;

  constructor(
    readonly path: string,
    private readonly file: FileHandle,
    sizeBytes: number,
  ) {
    this.#head = Buffer.alloc(Math.min(headBytes, sizeBytes));
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    await this.#begun();
    const kept = Math.max(0, Math.min(bytes.length, this.#head.length - offset));
    this.#head.set(bytes.subarray(0, kept), Math.min(offset, this.#head.length));
    if (kept < bytes.length) await writeAll(this.file, this.path, offset + kept, bytes.subarray(kept));
  }

  async zero(offset: number, length: number, signal: AbortSignal): Promise<void> {
    await this.#begun();
    const end = offset + length;
    for (let at = Math.max(offset, this.#head.length); at < end; at += zeroedAtOnce) {
      signal.throwIfAborted();
      await this.#zeroPiece(at, Math.min(zeroedAtOnce, end - at), signal);
    }
  }

  async settle(): Promise<void> {
    await this.#begun();
    await this.#sync();
  }

  async commit(): Promise<void> {
    await writeAll(this.file, this.path, 0, this.#head);
    await this.#sync();
    await this.#close();
  }

  async discard(): Promise<void> {
    await this.#close();
  }

  /** What was on the device is gone from here on: its head says so. */
  #begun(): Promise<void> {
    this.#isBegun ??= writeAll(this.file, this.path, 0, Buffer.alloc(this.#head.length));
    return this.#isBegun;
  }

  async #zeroPiece(offset: number, length: number, signal: AbortSignal): Promise<void> {
    try {
      // Of a block device the kernel zeroes what is punched, or says that it can't.
      if (this.#canPunch) return await punchHole(this.file.fd, offset, length);
    } catch (error) {
      const cannot = (['EOPNOTSUPP', 'EINVAL', 'ENODEV', 'ENOSYS'] as const).some((code) =>
        hasCode(error, code),
      );
      if (!cannot)
        throw new StillError(codeOf(error), `${this.path} can't be zeroed at ${offset}: ${messageOf(error)}`);
      // Not at this place, which is no multiple of its blocks, or not at all.
      this.#canPunch = hasCode(error, 'EINVAL');
    }
    for (let done = 0; done < length; done += zeros.length) {
      signal.throwIfAborted();
      await writeAll(this.file, this.path, offset + done, zeros.subarray(0, length - done));
    }
  }

  async #sync(): Promise<void> {
    try {
      await this.file.sync();
    } catch (error) {
      throw new StillError(codeOf(error), `${this.path} did not take what was written: ${messageOf(error)}`);
    }
  }

  async #close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.file.close();
  }
}

/** O_EXCL on a device: nothing that the kernel mounts or builds upon it or a partition of it. */
async function openAlone(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDWR | constants.O_EXCL);
  } catch (error) {
    const why = hasCode(error, 'EBUSY')
      ? 'it is in use: mounted, swap, or a part of something (see lsblk)'
      : messageOf(error);
    throw new StillError(codeOf(error), `${path} can't be written: ${why}`);
  }
}

/** What blkid(8) finds on a device, by its types (`ext4`, `gpt`); undefined: nothing. */
async function signatureOn(path: string): Promise<string | undefined> {
  try {
    const wanted = ['-s', 'TYPE', '-s', 'PTTYPE'];
    const { stdout } = await run('blkid', ['-p', ...wanted, '-o', 'value', path]);
    return stdout.trim().split('\n').filter(Boolean).join(', ') || 'something';
  } catch (error) {
    // Exit code 2: it found nothing; 8: more than one thing.
    if (error instanceof Error && 'code' in error && error.code === 2) return undefined;
    if (error instanceof Error && 'code' in error && error.code === 8) return 'several things';
    throw new StillError(
      'EIO',
      `what is on ${path} can't be told: ${messageOf(error)}; --overwrite goes on without a look`,
    );
  }
}
