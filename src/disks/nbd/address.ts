import { type NetConnectOpts, connect as netConnect, type OnReadOpts, Socket } from 'node:net';
import { codeOf, StillError } from '../../errors.js';

/**
 * Where an NBD server is, or how to come by connections to it.
 *
 * `descriptors`: sockets that are connected and on which nothing was said yet, one for each connection. They are taken
 * over and closed, all of them, when the disk is closed or can't be opened.
 *
 * `connect`: makes one more connection each time it is called. It should make the socket with `onread`
 * (`net.connect({…, onread})`, `new net.Socket({fd, readable: true, writable: true, onread})`): bytes then come
 * through one large buffer, which is twice as fast; a socket made without it works too. The socket is taken over.
 */
export type NbdAddress =
  | { readonly path: string }
  | { readonly host: string; readonly port: number }
  | { readonly descriptors: readonly number[] }
  | { readonly connect: (onread: OnReadOpts, signal?: AbortSignal) => Promise<Socket> };

/** Makes one connection. */
export type Dial = (onread: OnReadOpts, signal?: AbortSignal) => Promise<Socket>;

/** Gives connections to one address, as many as it has. */
export interface Dialler {
  /** For messages. */
  readonly name: string;
  /** How many connections there can be at most. */
  readonly most: number;
  readonly dial: Dial;
  /** Closes what was handed over and never used. */
  dropUnused(): void;
}

export function dialler(address: NbdAddress): Dialler {
  if ('descriptors' in address) return descriptors([...address.descriptors]);
  const shared = { most: Number.POSITIVE_INFINITY, dropUnused: () => undefined };
  if ('connect' in address) return { ...shared, name: 'a given socket', dial: address.connect };
  const name = 'path' in address ? address.path : `${address.host}:${address.port}`;
  const where: NetConnectOpts =
    'path' in address ? { path: address.path } : { host: address.host, port: address.port, noDelay: true };
  return { ...shared, name, dial: (onread, signal) => connected(name, { ...where, onread }, signal) };
}

function connected(name: string, options: NetConnectOpts, signal?: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const socket = netConnect(options);
    const abort = (): void => {
      socket.destroy();
      reject(signal?.reason);
    };
    const refused = (error: Error): void => {
      signal?.removeEventListener('abort', abort);
      reject(new StillError(codeOf(error), `can't connect to the NBD server at ${name}`, { cause: error }));
    };
    signal?.addEventListener('abort', abort, { once: true });
    socket.once('error', refused);
    socket.once('connect', () => {
      signal?.removeEventListener('abort', abort);
      socket.removeListener('error', refused);
      resolve(socket);
    });
  });
}

function descriptors(left: number[]): Dialler {
  const take = (descriptor: number, onread?: OnReadOpts): Socket =>
    new Socket({ fd: descriptor, readable: true, writable: true, ...(onread && { onread }) });
  return {
    name: `descriptor ${left.join(', ')}`,
    most: left.length,
    dial: async (onread) => {
      const descriptor = left.shift();
      if (descriptor === undefined)
        throw new StillError('EIO', 'there is no further connected socket to the NBD server');
      return take(descriptor, onread);
    },
    dropUnused: () => {
      for (const descriptor of left.splice(0)) take(descriptor).destroy();
    },
  };
}
