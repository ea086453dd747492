import { statfs } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import { type ErrnoName, hasCode, StillError } from '../errors.js';
import { unmount } from '../posix/unmount.js';

/** Ends a mount, as root or as the user who made it. EBUSY: in use. `lazy` takes it out of the tree all the same. */
export async function endMount(mountpoint: string, lazy: boolean): Promise<void> {
  try {
    await unmount(mountpoint, lazy);
  } catch (error) {
    if (!hasCode(error, 'EPERM')) throw error;
    await endMountAsUser(mountpoint, lazy);
  }
}

/** fusermount3 is set-uid root and lets users end what they have mounted themselves. */
async function endMountAsUser(mountpoint: string, lazy: boolean): Promise<void> {
  const flags = lazy ? ['-u', '-z'] : ['-u'];
  const ended = await execa('fusermount3', [...flags, '--', mountpoint], {
    reject: false,
    env: { LC_ALL: 'C' },
  });
  if (!ended.failed) return;
  const said = ended.stderr || (ended.cause instanceof Error ? ended.cause.message : 'it failed');
  const code: ErrnoName = /busy/i.test(said) ? 'EBUSY' : 'EPERM';
  throw new StillError(code, `fusermount3 can't unmount ${mountpoint}: ${said.replace(/\s*\n\s*/g, '; ')}`);
}

/**
 * Whether a mount's server is gone ("Transport endpoint is not connected"). A server that is there and does not answer
 * in time is not gone.
 */
export async function isStale(mountpoint: string, milliseconds = 5000): Promise<boolean> {
  // Attributes may be in the kernel's cache long after the server has gone; how much room there is never is.
  const answered = statfs(mountpoint).then(
    () => false,
    (error: unknown) => hasCode(error, 'ENOTCONN'),
  );
  const timeout = new AbortController();
  try {
    return await Promise.race([
      answered,
      delay(milliseconds, false, { signal: timeout.signal }).catch(() => false),
    ]);
  } finally {
    timeout.abort();
  }
}
