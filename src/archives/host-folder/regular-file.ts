import { close, closeSync, constants, open, openSync } from 'node:fs';
import { hasCode } from '../../errors.js';

const reading = constants.O_RDONLY;

/**
 * Opens the regular file that an O_PATH descriptor names, by its magic link: that very file, whatever its name leads
 * to by now. Its access time is left alone where we may (EPERM: it belongs to somebody else).
 */
export async function openNamed(named: number): Promise<number> {
  try {
    return await openLater(named, reading | constants.O_NOATIME);
  } catch (error) {
    if (!hasCode(error, 'EPERM')) throw error;
    return openLater(named, reading);
  }
}

/**
 * The same in this thread, for local file systems, whose open(2) reads nothing once the inode is there. O_NONBLOCK
 * spares the one wait that is left, for who holds a lease on the file: undefined then.
 */
export function openNamedNow(named: number): number | undefined {
  const flags = reading | constants.O_NONBLOCK;
  try {
    return openSync(pathOf(named), flags | constants.O_NOATIME);
  } catch (error) {
    if (hasCode(error, 'EAGAIN')) return undefined;
    if (!hasCode(error, 'EPERM')) throw error;
    return openSync(pathOf(named), flags);
  }
}

/** Closes in this thread: of a local file that was only read there is nothing to wait for. */
export function closeNow(descriptor: number): void {
  closeSync(descriptor);
}

/** Closes in the pool: a server may have to be told. What it could report concerns nothing that was written. */
export function closeLater(descriptor: number): void {
  close(descriptor, () => undefined);
}

function openLater(named: number, flags: number): Promise<number> {
  return new Promise((resolve, reject) => {
    open(pathOf(named), flags, (error, descriptor) => (error ? reject(error) : resolve(descriptor)));
  });
}

function pathOf(named: number): string {
  return `/proc/self/fd/${named}`;
}
