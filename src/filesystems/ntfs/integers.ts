const half = 2 ** 32;

/** A signed 64-bit number; NaN where it is beyond 2^53, which nothing that can be is. */
export function integer64(bytes: Buffer, at: number): number {
  const value = bytes.readInt32LE(at + 4) * half + bytes.readUInt32LE(at);
  return Number.isSafeInteger(value) ? value : Number.NaN;
}

/** The same, of what can't be below 0: a size, a cluster's number. NaN where it is. */
export function size64(bytes: Buffer, at: number): number {
  const value = integer64(bytes, at);
  return value >= 0 ? value : Number.NaN;
}

export function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value));
}
