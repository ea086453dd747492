import { hasCode } from '../errors.js';
import { systemCall } from './call.js';

const renameat2 = systemCall(
  'int renameat2(int oldFolder, const char *oldPath, int newFolder, const char *newPath, unsigned int flags)',
);
// linux/fcntl.h, linux/fs.h
const AT_FDCWD = -100;
const RENAME_EXCHANGE = 2;

/** Has two paths of one file system change places, at once for everybody, rename(2). False: the file system can't. */
export async function exchange(one: string, other: string): Promise<boolean> {
  try {
    await renameat2.later(other, AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE);
    return true;
  } catch (error) {
    if (hasCode(error, 'EINVAL') || hasCode(error, 'ENOSYS')) return false;
    throw error;
  }
}
