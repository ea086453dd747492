import { crc32c } from '../crc32c.js';

const noChecksum = Buffer.alloc(4);

/** Whether the CRC-32C of bytes, with zeros in its own place, is what stands there. */
export function hasChecksum(bytes: Buffer, at: number): boolean {
  let register = crc32c(0xffff_ffff, bytes, 0, at);
  register = crc32c(register, noChecksum);
  register = crc32c(register, bytes, at + 4);
  return ~register >>> 0 === bytes.readUInt32LE(at);
}
