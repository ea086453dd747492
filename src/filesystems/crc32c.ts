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
  // No calls in the loop: before V8 has compiled it, they would take most of the time. Whoever calls keeps all places within the bytes.
  for (const last = to - slices; at <= last; at += slices) {
    crc ^=
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24);
    crc =
      (table[1792 + (crc & 0xff)] as number) ^
      (table[1536 + ((crc >>> 8) & 0xff)] as number) ^
      (table[1280 + ((crc >>> 16) & 0xff)] as number) ^
      (table[1024 + (crc >>> 24)] as number) ^
      (table[768 + (bytes[at + 4] as number)] as number) ^
      (table[512 + (bytes[at + 5] as number)] as number) ^
      (table[256 + (bytes[at + 6] as number)] as number) ^
      (table[bytes[at + 7] as number] as number);
  }
  for (; at < to; at++) crc = (table[(crc ^ (bytes[at] as number)) & 0xff] as number) ^ (crc >>> 8);
  return crc >>> 0;
}
