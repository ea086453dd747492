import { crc32Register } from '../../crc32.js';
import type { Disk } from '../../disks/disk.js';
import { StillError } from '../../errors.js';
import { type Area, initialChecksum } from './physical-volume.js';

// LVM2: lib/format_text/layout.h (struct mda_header, struct raw_locn)
const headerBytes = 512;
const magic = Buffer.from(' LVM2 x[5A%r0N*>', 'latin1');
const version = 1;
const checkedFrom = 4;
const firstLocation = 40;
const ignored = 1;
/** Bytes: an area has 1 MiB where nobody asks for more. */
const mostTextBytes = 32 * 1024 * 1024;

/** The text of a metadata area, one char a byte. Undefined: the volume is in no group, or the area is not in use. EIO: it is damaged. */
export async function readMetadataText(
  disk: Disk,
  area: Area,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (area.size < headerBytes) throw damaged(`it has ${area.size} bytes`);
  const header = Buffer.alloc(headerBytes);
  await disk.read(area.offset, header, signal);
  if (!header.subarray(4, 20).equals(magic)) throw damaged('its mark is missing');
  if (crc32Register(header.subarray(checkedFrom), initialChecksum) !== header.readUInt32LE(0))
    throw damaged('the checksum of its header is wrong');
  if (header.readUInt32LE(20) !== version) throw damaged(`its version is ${header.readUInt32LE(20)}`);
  if (header.readBigUInt64LE(24) !== BigInt(area.offset)) throw damaged('it says that it is elsewhere');
  const size = Math.min(Number(header.readBigUInt64LE(32)), area.size);

  const offset = Number(header.readBigUInt64LE(firstLocation));
  const length = Number(header.readBigUInt64LE(firstLocation + 8));
  const checksum = header.readUInt32LE(firstLocation + 16);
  const flags = header.readUInt32LE(firstLocation + 20);
  if (offset === 0 || (flags & ignored) !== 0) return undefined;
  if (offset < headerBytes || offset >= size || length === 0 || length > size - headerBytes)
    throw damaged(`its text of ${length} bytes is at ${offset} of ${size}`);
  if (length > mostTextBytes) throw damaged(`its text has ${length} bytes`);

  const text = Buffer.alloc(length);
  const untilEnd = Math.min(length, size - offset);
  await disk.read(area.offset + offset, text.subarray(0, untilEnd), signal);
  // The texts go round in the area, behind the header.
  if (untilEnd < length) await disk.read(area.offset + headerBytes, text.subarray(untilEnd), signal);
  if (crc32Register(text, initialChecksum) !== checksum) throw damaged('the checksum of its text is wrong');
  const end = text.indexOf(0);
  return text.toString('latin1', 0, end < 0 ? text.length : end);
}

function damaged(what: string): StillError {
  return new StillError('EIO', `a metadata area of LVM is damaged: ${what}`);
}
