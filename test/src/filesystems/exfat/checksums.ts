/** Makes the checksum of the set of entries at a place good again, if one is there. */
export function sealSet(bytes: Buffer, set: number): void {
  const end = set + 32 * ((bytes[set + 1] ?? 0) + 1);
  if (end > bytes.length) return;
  let sum = 0;
  for (let at = set; at < end; at++) {
    if (at - set !== 2 && at - set !== 3) sum = (((sum & 1) << 15) + (sum >> 1) + (bytes[at] ?? 0)) & 0xffff;
  }
  bytes.writeUInt16LE(sum, set + 2);
}

/** Makes the checksum of the first boot region good again; its sectors have 512 bytes. */
export function sealRegion(bytes: Buffer): void {
  let sum = 0;
  for (let at = 0; at < 11 * 512; at++) {
    if (at === 106 || at === 107 || at === 112) continue;
    sum = ((sum & 1) * 0x8000_0000 + Math.floor(sum / 2) + (bytes[at] ?? 0)) % 0x1_0000_0000;
  }
  for (let at = 11 * 512; at < 12 * 512; at += 4) bytes.writeUInt32LE(sum, at);
}
