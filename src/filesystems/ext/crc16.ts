/** The polynomial of CRC-16 (linux lib/crc16.c), its bits reversed. */
const polynomial = 0xa001;

/** Takes bytes into the register of a CRC-16. */
export function crc16(register: number, bytes: Uint8Array): number {
  let crc = register;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1 ? polynomial : 0) ^ (crc >>> 1);
  }
  return crc;
}
