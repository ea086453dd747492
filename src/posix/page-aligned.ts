import koffi from 'koffi';

/** The largest page of any Linux, in bytes. */
const pageBytes = 65_536;

/**
 * Memory that begins where a page does. A mebibyte that lies across one page more does not fit a single request of FUSE's: each read
 * into it would become two, the second of a few bytes.
 */
export function pageAligned(bytes: number): Buffer<ArrayBuffer> {
  const memory = Buffer.allocUnsafeSlow(bytes + pageBytes);
  const beyond = Number(koffi.address(memory) % BigInt(pageBytes));
  const begin = beyond === 0 ? 0 : pageBytes - beyond;
  return memory.subarray(begin, begin + bytes);
}
