import { StillError } from '../../errors.js';

const half = 2 ** 32;

/** A signed 64-bit number. EIO: it is beyond 2^53, which nothing that can be is. */
export function integer64(bytes: Buffer, at: number, what: string): number {
  const value = bytes.readInt32LE(at + 4) * half + bytes.readUInt32LE(at);
  if (Number.isSafeInteger(value)) return value;
  throw new StillError('EIO', `${what} is said to be ${bytes.readBigInt64LE(at)}`);
}

/** The same, of what can't be below 0: a size, a cluster's number. */
export function size64(bytes: Buffer, at: number, what: string): number {
  const value = integer64(bytes, at, what);
  if (value >= 0) return value;
  throw new StillError('EIO', `${what} is said to be ${value}`);
}

export function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value));
}
