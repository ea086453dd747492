/** The polynomial of CRC-32C (RFC 3720, appendix B.4), its bits reversed. */
const polynomial = 0x82f6_3b78;
const slices = 8;

/** What a byte's value does to the register, for each of eight bytes that are taken at once: the last one's first. */
const table = makeTable();

function makeTable(): Int32Array {
  const made = new Int32Array(256 * slices);
  for (let byte = 0; byte < 256; byte++) {
    let register = byte;
    for (let bit = 0; bit < 8; bit++) register = (register & 1 ? polynomial : 0) ^ (register >>> 1);
    made[byte] = register;
  }
  for (let place = 256; place < made.length; place++) {
    const before = made[place - 256] ?? 0;
    made[place] = (made[before & 0xff] ?? 0) ^ (before >>> 8);
  }
  return made;
}

/**
 * Takes bytes into the register of a CRC-32C, and gives the register, unsigned. It is inverted neither before nor after:
 * most formats begin with 0xffffffff, and some invert what comes out.
 */
export function crc32c(register: number, bytes: Uint8Array, from = 0, to = bytes.length): number {
  let crc = register | 0;
  let at = from;
  const byte = (place: number): number => bytes[place] ?? 0;
  const step = (place: number): number => table[place] ?? 0;
  for (const last = to - slices; at <= last; at += slices) {
    crc ^= byte(at) | (byte(at + 1) << 8) | (byte(at + 2) << 16) | (byte(at + 3) << 24);
    crc =
      step(1792 + (crc & 0xff)) ^
      step(1536 + ((crc >>> 8) & 0xff)) ^
      step(1280 + ((crc >>> 16) & 0xff)) ^
      step(1024 + (crc >>> 24)) ^
      step(768 + byte(at + 4)) ^
      step(512 + byte(at + 5)) ^
      step(256 + byte(at + 6)) ^
      step(byte(at + 7));
  }
  for (; at < to; at++) crc = step((crc ^ byte(at)) & 0xff) ^ (crc >>> 8);
  return crc >>> 0;
}
