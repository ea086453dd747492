import koffi from 'koffi';
import { StillError } from '../errors.js';
import { systemCall } from './call.js';

const socketpairCall = systemCall('int socketpair(int domain, int type, int protocol, void *descriptors)');

koffi.struct('stillfs_msghdr', {
  name: 'void *',
  nameLength: 'uint32_t',
  vectors: 'void *',
  vectorCount: 'size_t',
  control: 'void *',
  controlLength: 'size_t',
  flags: 'int',
});
koffi.struct('stillfs_message_vector', { base: 'void *', length: 'size_t' });
const recvmsg = systemCall('intptr_t recvmsg(int socket, void *message, int flags)');

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_CMSG_CLOEXEC = 0x40000000;
const controlHeaderBytes = 16; // struct cmsghdr on 64-bit: size_t length, int level, int type

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
  const data = Buffer.alloc(8);
  const control = Buffer.alloc(64);
  const vector = Buffer.alloc(koffi.sizeof('stillfs_message_vector'));
  koffi.encode(vector, 'stillfs_message_vector', { base: data, length: data.length });
  const message = Buffer.alloc(koffi.sizeof('stillfs_msghdr'));
  koffi.encode(message, 'stillfs_msghdr', {
    name: null,
    nameLength: 0,
    vectors: vector,
    vectorCount: 1,
    control,
    controlLength: control.length,
    flags: 0,
  });
  const received = await recvmsg.later(`socket ${socket}`, socket, message, MSG_CMSG_CLOEXEC);
  if (received === 0) return undefined;
  const isDescriptor =
    Number(control.readBigUInt64LE(0)) === controlHeaderBytes + 4 &&
    control.readInt32LE(8) === SOL_SOCKET &&
    control.readInt32LE(12) === SCM_RIGHTS;
  if (!isDescriptor)
    throw new StillError('EPROTO', `socket ${socket} gave ${received} bytes without a descriptor`);
  return control.readInt32LE(controlHeaderBytes);
}
