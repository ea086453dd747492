/** The polynomial of CRC-32, its bits in order (crc32_be of linux lib/crc32.c). */
const polynomial = 0x04c1_1db7;

const table = Int32Array.from({ length: 256 }, (_, byte) => {
  let register = byte << 24;
  for (let bit = 0; bit < 8; bit++) register = (register << 1) ^ (register < 0 ? polynomial : 0);
  return register;
});

/** Takes bytes into the register of a CRC-32 whose highest bit comes first, and gives the register, unsigned. */
export function crc32BigEndian(register: number, bytes: Uint8Array): number {
  let crc = register | 0;
  for (const byte of bytes) crc = (crc << 8) ^ (table[(crc >>> 24) ^ byte] ?? 0);
  return crc >>> 0;
}
