const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

/** The CRC-32 of ISO 3309, as zlib, .xz and GPT have it. */
export function crc32(bytes: Uint8Array): number {
  return ~crc32Register(bytes, -1) >>> 0;
}

/** The register of that CRC after more bytes, neither begun nor ended by inverting it, as LVM2 has it. */
export function crc32Register(bytes: Uint8Array, register: number): number {
  let crc = register;
  for (const byte of bytes) crc = (crc >>> 8) ^ (table[(crc ^ byte) & 0xff] as number);
  return crc >>> 0;
}
