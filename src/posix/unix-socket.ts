import { closeSync } from 'node:fs';
import { StillError } from '../errors.js';
import { systemCall } from './call.js';

const socketCall = systemCall('int socket(int domain, int type, int protocol)');
const connectCall = systemCall('int connect(int socket, const void *address, uint32_t length)');
const bindCall = systemCall('int bind(int socket, const void *address, uint32_t length)');
const listenCall = systemCall('int listen(int socket, int backlog)');

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const pathBytes = 108; // sun_path, with the NUL that ends it

/**
 * Connects to a Unix socket by its path and gives the descriptor, which the caller closes; it never waits. ENOENT or
 * ECONNREFUSED: nobody listens; EAGAIN: the listener's queue is full, so somebody else is being served.
 */
export function connectUnixSocket(path: string): number {
  const address = addressOf(path);
  return opened((socket) => connectCall.now(path, socket, address, address.length));
}

/**
 * Makes a Unix socket at a path, on which connections can be accepted, and gives its descriptor: to be passed to a
 * program that serves it. The caller closes the descriptor and removes the path. EADDRINUSE: something is there.
 */
export function listeningUnixSocket(path: string, backlog = 16): number {
  const address = addressOf(path);
  return opened((socket) => {
    bindCall.now(path, socket, address, address.length);
    listenCall.now(path, socket, backlog);
  });
}

function opened(prepare: (socket: number) => void): number {
  const socket = socketCall.now('a Unix socket', AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  try {
    prepare(socket);
    return socket;
  } catch (error) {
    closeSync(socket);
    throw error;
  }
}

/** struct sockaddr_un: the family, the path, a NUL. */
function addressOf(path: string): Buffer {
  const bytes = Buffer.from(path, 'utf8');
  if (bytes.length === 0 || bytes.includes(0))
    throw new StillError('EINVAL', `${JSON.stringify(path)} is no path of a Unix socket`);
  if (bytes.length >= pathBytes) {
    const limit = `a Unix socket's path has at most ${pathBytes - 1} bytes`;
    throw new StillError('ENAMETOOLONG', `${path} can't be used: ${limit}, and this has ${bytes.length}`);
  }
  const address = Buffer.alloc(2 + bytes.length + 1);
  address.writeUInt16LE(AF_UNIX, 0);
  bytes.copy(address, 2);
  return address;
}
