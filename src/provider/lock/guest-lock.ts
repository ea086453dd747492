import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { codeOf, hasCode, StillError } from '../../errors.js';
import { tryLock } from '../../posix/flock.js';

/** The file in a guest's folder of a store that is locked. It stays: one that is removed could be locked twice. */
export const lockFile = '.lock';

/** How often a lock is tried for that others have, in milliseconds. */
const retryMilliseconds = 200;
const mostHolderBytes = 256;

export interface LockWish {
  /** `exclusive` for who changes the guest's backups, `shared` for who reads them. */
  readonly how: 'exclusive' | 'shared';
  /** What it is for, in a word or two: those who find it locked are told. */
  readonly purpose: string;
  /** How long to wait for it; 0: not at all. */
  readonly waitSeconds: number;
}

export interface GuestLock {
  release(): Promise<void>;
}

/**
 * Locks the folder of a guest in a store. It is the kernel's lock: it goes when this process does. EBUSY: others have it, and
 * who. A store that can't be written is read without one, for nobody else can change it either.
 */
export async function lockGuest(
  guestFolder: string,
  { how, purpose, waitSeconds }: LockWish,
  signal: AbortSignal,
): Promise<GuestLock> {
  const path = join(guestFolder, lockFile);
  const file = await openLockFile(path, how);
  if (!file) return { release: async () => undefined };
  const deadline = Date.now() + waitSeconds * 1000;
  try {
    while (!(await tryLock(file.fd, how))) {
      signal.throwIfAborted();
      const left = deadline - Date.now();
      if (left <= 0) {
        const advice = waitSeconds > 0 ? `, after ${waitSeconds} s` : '; --wait SECONDS waits for it';
        throw new StillError('EBUSY', `${guestFolder} is in use by ${await holderOf(file)}${advice}`);
      }
      await delay(Math.min(retryMilliseconds, left), undefined, { signal });
    }
    await noteHolder(file, purpose);
  } catch (error) {
    await file.close();
    throw error;
  }
  return { release: () => file.close() };
}

async function openLockFile(path: string, how: LockWish['how']): Promise<FileHandle | undefined> {
  const flags = constants.O_NOFOLLOW | constants.O_NONBLOCK;
  try {
    return await open(path, flags | constants.O_RDWR | constants.O_CREAT, 0o600);
  } catch (error) {
    const readOnly = (['EROFS', 'EACCES', 'EPERM'] as const).some((code) => hasCode(error, code));
    if (how === 'exclusive' || !readOnly)
      throw new StillError(codeOf(error), `${path} can't be opened to lock the guest`, { cause: error });
  }
  try {
    return await open(path, flags | constants.O_RDONLY);
  } catch (error) {
    if (hasCode(error, 'ENOENT') || hasCode(error, 'EACCES')) return undefined;
    throw error;
  }
}

/** Writes down who has the lock. For people alone: the lock is the kernel's. */
async function noteHolder(file: FileHandle, purpose: string): Promise<void> {
  const note = Buffer.from(`${process.pid} ${purpose}\n`);
  try {
    await file.write(note, 0, note.length, 0);
    await file.truncate(note.length);
  } catch (error) {
    // A store that is full, or that can only be read, can be locked all the same.
    if (!(['ENOSPC', 'EDQUOT', 'EBADF', 'EINVAL'] as const).some((code) => hasCode(error, code))) throw error;
  }
}

async function holderOf(file: FileHandle): Promise<string> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(mostHolderBytes), 0, mostHolderBytes, 0);
  const [, pid, purpose] = /^(\d{1,10}) ([\w .-]+)\n/.exec(buffer.toString('latin1', 0, bytesRead)) ?? [];
  if (pid === undefined || purpose === undefined) return 'another process';
  return `"${purpose}", process ${pid}`;
}
