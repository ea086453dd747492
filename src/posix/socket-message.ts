import koffi from 'koffi';

export const SOL_SOCKET = 1;
export const SCM_RIGHTS = 1;

// Sizes on 64-bit Linux.
const headerBytes = 56; // struct msghdr
const vectorBytes = 16; // struct iovec
/** struct cmsghdr: size_t length, int level, int type. */
export const controlHeaderBytes = 16;

/**
 * Memory for one sendmsg(2) or recvmsg(2): a struct msghdr, at its beginning, with room for so many bytes and
 * descriptors. It is one piece, because the call gets addresses within it: all of it lives as long as any of it.
 */
export function socketMessage(
  bytes: number,
  descriptors: number,
): { readonly memory: Buffer; readonly controlAt: number; readonly bytesAt: number } {
  const controlBytes = controlHeaderBytes + 4 * descriptors;
  const controlAt = headerBytes + vectorBytes;
  const bytesAt = controlAt + Math.ceil(controlBytes / 8) * 8;
  const memory = Buffer.alloc(bytesAt + bytes);
  const address = koffi.address(memory);
  memory.writeBigUInt64LE(address + BigInt(headerBytes), 16);
  memory.writeBigUInt64LE(1n, 24);
  memory.writeBigUInt64LE(address + BigInt(controlAt), 32);
  memory.writeBigUInt64LE(BigInt(controlBytes), 40);
  memory.writeBigUInt64LE(address + BigInt(bytesAt), headerBytes);
  memory.writeBigUInt64LE(BigInt(bytes), headerBytes + 8);
  return { memory, controlAt, bytesAt };
}
