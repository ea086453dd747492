import koffi from 'koffi';
import { systemCall } from './call.js';

const sendmsg = systemCall('intptr_t sendmsg(int socket, const void *message, int flags)');

const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const mostDescriptors = 253; // SCM_MAX_FD

// Sizes on 64-bit Linux.
const messageHeaderBytes = 56; // struct msghdr
const vectorBytes = 16; // struct iovec
const controlHeaderBytes = 16; // struct cmsghdr: size_t length, int level, int type

/**
 * Writes bytes to a Unix socket with descriptors attached to the first of them (SCM_RIGHTS, unix(7)), and says how many
 * bytes went: at least one, perhaps not all; the descriptors went with the first. It never waits: EAGAIN when the socket
 * is full, and then nothing was sent. The descriptors stay the caller's, to close as soon as this is back.
 */
export function sendDescriptors(
  socket: number,
  bytes: Uint8Array,
  descriptors: readonly number[],
  subject = `socket ${socket}`,
): number {
  if (bytes.length === 0 || descriptors.length === 0 || descriptors.length > mostDescriptors)
    throw new RangeError(`${descriptors.length} descriptors can't go with ${bytes.length} bytes`);
  const controlBytes = controlHeaderBytes + 4 * descriptors.length;
  const controlAt = messageHeaderBytes + vectorBytes;
  const bytesAt = controlAt + Math.ceil(controlBytes / 8) * 8;
  // The call gets addresses within one buffer, so that all of it lives as long as the call.
  const memory = Buffer.alloc(bytesAt + bytes.length);
  const address = koffi.address(memory);
  memory.writeBigUInt64LE(address + BigInt(messageHeaderBytes), 16);
  memory.writeBigUInt64LE(1n, 24);
  memory.writeBigUInt64LE(address + BigInt(controlAt), 32);
  memory.writeBigUInt64LE(BigInt(controlBytes), 40);
  memory.writeBigUInt64LE(address + BigInt(bytesAt), messageHeaderBytes);
  memory.writeBigUInt64LE(BigInt(bytes.length), messageHeaderBytes + 8);
  memory.writeBigUInt64LE(BigInt(controlBytes), controlAt);
  memory.writeInt32LE(SOL_SOCKET, controlAt + 8);
  memory.writeInt32LE(SCM_RIGHTS, controlAt + 12);
  descriptors.forEach((descriptor, i) => {
    memory.writeInt32LE(descriptor, controlAt + controlHeaderBytes + 4 * i);
  });
  memory.set(bytes, bytesAt);
  return sendmsg.now(subject, socket, memory, MSG_DONTWAIT | MSG_NOSIGNAL);
}
