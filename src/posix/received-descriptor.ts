import { StillError } from '../errors.js';
import { systemCall } from './call.js';
import { controlHeaderBytes, SCM_RIGHTS, SOL_SOCKET, socketMessage } from './socket-message.js';

const socketpairCall = systemCall('int socketpair(int domain, int type, int protocol, void *descriptors)');

const recvmsg = systemCall('intptr_t recvmsg(int socket, void *message, int flags)');

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
const MSG_CMSG_CLOEXEC = 0x40000000;

/** Two connected Unix sockets. The caller closes both. */
export function socketPair(): readonly [number, number] {
  const descriptors = Buffer.alloc(8);
  socketpairCall.now('a pair of Unix sockets', AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, descriptors);
  return [descriptors.readInt32LE(0), descriptors.readInt32LE(4)];
}

/**
 * Waits until the other side of a Unix socket passes a descriptor (SCM_RIGHTS, unix(7)) or closes it: undefined then.
 * The caller closes the descriptor.
 */
export async function receiveDescriptor(socket: number): Promise<number | undefined> {
  const { memory, controlAt } = socketMessage(8, 1);
  const received = await recvmsg.later(`socket ${socket}`, socket, memory, MSG_CMSG_CLOEXEC);
  if (received === 0) return undefined;
  const isDescriptor =
    Number(memory.readBigUInt64LE(controlAt)) === controlHeaderBytes + 4 &&
    memory.readInt32LE(controlAt + 8) === SOL_SOCKET &&
    memory.readInt32LE(controlAt + 12) === SCM_RIGHTS;
  if (!isDescriptor)
    throw new StillError('EPROTO', `socket ${socket} gave ${received} bytes without a descriptor`);
  return memory.readInt32LE(controlAt + controlHeaderBytes);
}
