import { StillError } from '../../errors.js';

// ntfs-3g's layout.h: struct NTFS_RECORD. The last two bytes of each 512 are a number that tells whether all were written at once.
const stride = 512;

/**
 * A record that was protected against being written in part, with the bytes that it had before. Undefined: its bytes say that it is
 * another kind of record, or none. EIO: some of its sectors are older than the others. The bytes go into `room`, where that is given.
 */
export function unprotected(
  stored: Buffer,
  magic: number,
  what: () => string,
  room?: Buffer,
): Buffer | undefined {
  if (stored.length < stride || stored.readUInt32LE(0) !== magic) return undefined;
  const array = stored.readUInt16LE(4);
  const sectors = stored.readUInt16LE(6) - 1;
  const fits = array % 2 === 0 && array + 2 * (sectors + 1) <= stride - 2;
  if (sectors !== stored.length / stride || !fits)
    throw new StillError(
      'EIO',
      `${what()} is damaged: its update sequence of ${sectors} sectors is at ${array}`,
    );
  const bytes = room?.subarray(0, stored.copy(room)) ?? Buffer.from(stored);
  const number = bytes.readUInt16LE(array);
  for (let sector = 1; sector <= sectors; sector++) {
    const end = sector * stride - 2;
    if (bytes.readUInt16LE(end) !== number)
      throw new StillError(
        'EIO',
        `${what()} was written in part only: its sector ${sector} is older than others`,
      );
    bytes.copy(bytes, end, array + 2 * sector, array + 2 * sector + 2);
  }
  return bytes;
}
