import { setTimeout as wait } from 'node:timers/promises';
import { hasCode, StillError } from '../../../errors.js';
import { connectUnixSocket } from '../../../posix/unix-socket.js';

const retryMilliseconds = 20;

/**
 * Connects to a Unix socket of which QEMU serves one client at a time, and gives the descriptor. Others are let into a short queue,
 * where they hear nothing, and then no more: that is waited for until the deadline (EBUSY). Fails at once where nobody listens.
 */
export async function connectToSingleClientSocket(
  path: string,
  subject: string,
  limits: { readonly signal?: AbortSignal | undefined; readonly deadlineMilliseconds: number },
): Promise<number> {
  const { signal, deadlineMilliseconds } = limits;
  const deadline = Date.now() + deadlineMilliseconds;
  for (;;) {
    signal?.throwIfAborted();
    try {
      return connectUnixSocket(path);
    } catch (error) {
      if (!hasCode(error, 'EAGAIN')) throw error;
      if (Date.now() >= deadline) throw busySocket(subject, deadlineMilliseconds);
    }
    await wait(retryMilliseconds, undefined, signal ? { signal } : {});
  }
}

/** `subject` is what the socket leads to: `the monitor of guest 100`. */
export function busySocket(subject: string, milliseconds: number): StillError {
  const why = 'another program is using it (it serves one at a time), or QEMU hangs';
  return new StillError('EBUSY', `${subject} said nothing within ${milliseconds} ms: ${why}`);
}

/** Whether connecting failed because there is no listener: no such socket, or nobody behind it. */
export function nobodyListens(error: unknown): boolean {
  return hasCode(error, 'ENOENT') || hasCode(error, 'ECONNREFUSED');
}

/** What is left until a deadline that began some time ago, for the next wait. */
export function restOf(deadlineMilliseconds: number, startedAt: number): number {
  return Math.max(startedAt + deadlineMilliseconds - Date.now(), 1);
}
