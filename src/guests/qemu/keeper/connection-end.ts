import { Socket } from 'node:net';

const patienceMilliseconds = 1000;

/**
 * Ends a connection, for all processes that have it, and comes back when the other side has ended it too. The descriptor is closed
 * then. What is not a connected socket (any more) is fine.
 */
export function endConnection(descriptor: number): Promise<void> {
  return new Promise((resolve) => {
    let socket: Socket;
    try {
      socket = new Socket({ fd: descriptor, readable: true, writable: true });
    } catch {
      resolve();
      return;
    }
    const late = setTimeout(() => socket.destroy(), patienceMilliseconds);
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(late);
      resolve();
    });
    socket.resume();
    socket.end();
  });
}
