/**
 * Bytes that tell where they stand: each eight of them are their own offset, divided by eight, little-endian. So a
 * file of any size needs no memory, and a byte from the wrong place shows.
 */
export function fillPattern(target: Uint8Array, offset: number): void {
  let at = 0;
  while (at < target.length && (offset + at) % 8 !== 0) {
    target[at] = patternByte(offset + at);
    at++;
  }
  const view = new DataView(target.buffer, target.byteOffset, target.byteLength);
  let word = (offset + at) / 8;
  for (; at + 8 <= target.length; at += 8, word++) {
    view.setUint32(at, word >>> 0, true);
    view.setUint32(at + 4, Math.floor(word / 2 ** 32), true);
  }
  for (; at < target.length; at++) target[at] = patternByte(offset + at);
}

function patternByte(offset: number): number {
  const word = Math.floor(offset / 8);
  return Math.floor(word / 256 ** (offset % 8)) % 256;
}

/** The pattern from an offset on. */
export function pattern(offset: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  fillPattern(bytes, offset);
  return bytes;
}
