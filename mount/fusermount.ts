import { execa } from 'execa';
import { StillError } from '../src/errors.js';

/**
 * Ends a mount of an ordinary user's own, by the setuid program that made it: `fusermount3` of libfuse 3, `fusermount`
 * of libfuse 2. EBUSY: it is in use; `lazily` takes it out of the tree all the same, and it ends with its last user.
 */
export async function unmountByFusermount(
  program: 'fusermount' | 'fusermount3',
  mountpoint: string,
  lazily: boolean,
): Promise<void> {
  const result = await execa(program, ['-u', ...(lazily ? ['-z'] : []), '--', mountpoint], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { LC_ALL: 'C' },
    reject: false,
  });
  if (!result.failed) return;
  const busy = /busy/i.test(result.stderr);
  throw new StillError(
    busy ? 'EBUSY' : 'EPERM',
    `unmounting ${mountpoint} failed: ${result.stderr || result.shortMessage}`,
  );
}
