import { StillError } from '../errors.js';
import { cString, systemCall } from './call.js';

const readlinkat = systemCall('intptr_t readlinkat(int folder, const void *path, void *target, size_t size)');
const empty = cString(new Uint8Array(0));
/** PATH_MAX: no symlink is longer. */
const room = 4096;

/** The target of the symlink that a descriptor (O_PATH|O_NOFOLLOW) stands for, in the pool. */
export async function readSymlink(descriptor: number): Promise<Uint8Array> {
  const target = new Uint8Array(room);
  const length = await readlinkat.later(`descriptor ${descriptor}`, descriptor, empty, target, room);
  if (length === room)
    throw new StillError('ENAMETOOLONG', `the symlink behind descriptor ${descriptor} has no end`);
  return target.subarray(0, length);
}
