import { systemCall } from './call.js';
import { controlHeaderBytes, SCM_RIGHTS, SOL_SOCKET, socketMessage } from './socket-message.js';

const sendmsg = systemCall('intptr_t sendmsg(int socket, const void *message, int flags)');

const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const mostDescriptors = 253; // SCM_MAX_FD

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
  const { memory, controlAt, bytesAt } = socketMessage(bytes.length, descriptors.length);
  memory.writeBigUInt64LE(BigInt(controlHeaderBytes + 4 * descriptors.length), controlAt);
  memory.writeInt32LE(SOL_SOCKET, controlAt + 8);
  memory.writeInt32LE(SCM_RIGHTS, controlAt + 12);
  descriptors.forEach((descriptor, i) => {
    memory.writeInt32LE(descriptor, controlAt + controlHeaderBytes + 4 * i);
  });
  memory.set(bytes, bytesAt);
  return sendmsg.now(subject, socket, memory, MSG_DONTWAIT | MSG_NOSIGNAL);
}
