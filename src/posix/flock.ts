import { hasCode } from '../errors.js';
import { systemCall } from './call.js';

const flock = systemCall('int flock(int descriptor, int operation)');
const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;

/**
 * Takes a lock upon an open file, flock(2), without waiting; false where others have it. It is the open file's: it goes with
 * the last descriptor of it, so also when the process dies.
 */
export async function tryLock(descriptor: number, how: 'shared' | 'exclusive'): Promise<boolean> {
  const operation = (how === 'shared' ? LOCK_SH : LOCK_EX) | LOCK_NB;
  try {
    await flock.later(`descriptor ${descriptor}`, descriptor, operation);
    return true;
  } catch (error) {
    if (hasCode(error, 'EWOULDBLOCK')) return false;
    throw error;
  }
}
