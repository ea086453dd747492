import { type FileHandle, open } from 'node:fs/promises';
import { codeOf, messageOf, StillError } from '../../../errors.js';
import type { FilePlace } from '../place.js';
import type { DiskTarget } from './disk-target.js';

/** Restores a disk to a raw file, in which zeros are holes. */
export async function openRawFile(place: FilePlace, sizeBytes: number): Promise<DiskTarget> {
  const file = await open(place.beside, 'wx', 0o600);
  try {
    await file.truncate(sizeBytes);
  } catch (error) {
    await file.close();
    await place.leave();
    throw new StillError(codeOf(error), `${place.path} can't be written: ${messageOf(error)}`);
  }
  let isOpen = true;
  const close = async (): Promise<void> => {
    if (!isOpen) return;
    isOpen = false;
    await file.close();
  };
  return {
    path: place.path,
    write: (offset, bytes) => writeAll(file, place.path, offset, bytes),
    zero: async () => undefined,
    settle: async () => {
      await file.sync();
      await close();
    },
    commit: () => place.take(),
    discard: async () => {
      await close();
      await place.leave();
    },
  };
}

/** Writes all of some bytes; a failure is told by the path. */
export async function writeAll(
  file: FileHandle,
  path: string,
  offset: number,
  bytes: Uint8Array,
): Promise<void> {
  try {
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await file.write(bytes, done, bytes.length - done, offset + done);
      if (bytesWritten === 0) throw new StillError('EIO', 'nothing more is taken');
      done += bytesWritten;
    }
  } catch (error) {
    throw new StillError(codeOf(error), `${path} can't be written: ${messageOf(error)}`);
  }
}
