import { StillError } from '../errors.js';
import { cString, systemCall } from './call.js';

const readlinkat = systemCall('intptr_t readlinkat(int folder, const void *path, void *target, size_t size)');
const itself = cString(new Uint8Array(0));
/** PATH_MAX: no file system of Linux gives a longer target. */
const longestTarget = 4096;

/** The target of the symlink that a descriptor (O_PATH) stands for, as bytes. ENOENT: it stands for no symlink. */
export async function readlinkOf(descriptor: number): Promise<Uint8Array> {
  const target = new Uint8Array(longestTarget + 1);
  const length = await readlinkat.later(
    `descriptor ${descriptor}`,
    descriptor,
    itself,
    target,
    target.length,
  );
  if (length <= longestTarget) return target.slice(0, length);
  throw new StillError('ENAMETOOLONG', `a symlink's target is longer than ${longestTarget} bytes`);
}
