import type { MessagePort } from 'node:worker_threads';
import { failureOf } from '../../port/failure.js';
import type { Disk } from '../disk.js';
import { type DiskAnswer, type DiskRequest, parseDiskRequest } from './messages.js';

/** No read through a port is larger, bytes. */
export const mostReadBytes = 16 * 1024 * 1024;

/**
 * Serves a disk through a port until the port closes, which it does when the thread at its other end dies. What is
 * under way is aborted then. The disk stays the caller's.
 */
export function serveDisk(disk: Disk, port: MessagePort): void {
  const underWay = new Map<number, AbortController>();

  const answer = async (request: Exclude<DiskRequest, { kind: 'abort' }>): Promise<void> => {
    const abort = new AbortController();
    underWay.set(request.id, abort);
    try {
      if (request.kind === 'extents') {
        const extents = await disk.extents(request.offset, request.length, abort.signal);
        send(port, { kind: 'extents', id: request.id, extents });
      } else {
        const memory = request.memory ?? new ArrayBuffer(Math.min(request.length, mostReadBytes));
        await disk.read(request.offset, new Uint8Array(memory, 0, request.length), abort.signal);
        send(port, { kind: 'read', id: request.id, memory }, [memory]);
      }
    } catch (error) {
      // The memory is not given back: a read that failed may still write to it.
      send(port, { kind: 'failure', id: request.id, failure: failureOf(error) });
    } finally {
      underWay.delete(request.id);
    }
  };

  port.on('message', (message: unknown) => {
    const request = parseDiskRequest(message);
    if (request.kind === 'abort') underWay.get(request.id)?.abort();
    else void answer(request);
  });
  port.on('close', () => {
    for (const abort of underWay.values()) abort.abort();
  });
}

function send(port: MessagePort, message: DiskAnswer, transferred: readonly ArrayBuffer[] = []): void {
  port.postMessage(message, transferred);
}
