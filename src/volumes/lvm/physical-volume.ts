import { crc32Register } from '../../crc32.js';
import type { Disk } from '../../disks/disk.js';
import { StillError } from '../../errors.js';

// LVM2: lib/label/label.h (struct label_header), lib/format_text/layout.h (struct pv_header)
const sectorBytes = 512;
const labelSectors = 4;
const labelMark = Buffer.from('LABELONE', 'latin1');
const labelType = Buffer.from('LVM2 001', 'latin1');
const labelHeaderBytes = 32;
const checkedFrom = 20;
const uuidBytes = 32;
const locationBytes = 16;
export const initialChecksum = 0xf597a6cf;

/** A range of a physical volume, in bytes. */
export interface Area {
  readonly offset: number;
  readonly size: number;
}

/** What the label of a physical volume tells. */
export interface PhysicalVolume {
  /** Without hyphens. */
  readonly uuid: string;
  readonly metadataAreas: readonly Area[];
}

/** Reads the label of a physical volume. Undefined: the disk has none. EIO: it is damaged. */
export async function readLabel(disk: Disk, signal: AbortSignal): Promise<PhysicalVolume | undefined> {
  if (disk.size < labelSectors * sectorBytes) return undefined;
  const bytes = Buffer.alloc(labelSectors * sectorBytes);
  await disk.read(0, bytes, signal);
  for (let number = 0; number < labelSectors; number++) {
    const sector = bytes.subarray(number * sectorBytes, (number + 1) * sectorBytes);
    if (sector.subarray(0, 8).equals(labelMark) && sector.subarray(24, 32).equals(labelType))
      return parseLabel(sector, number, disk.size);
  }
  return undefined;
}

function parseLabel(sector: Buffer, number: number, diskBytes: number): PhysicalVolume {
  if (sector.readBigUInt64LE(8) !== BigInt(number)) throw damaged('it says that it is in another sector');
  if (crc32Register(sector.subarray(checkedFrom), initialChecksum) !== sector.readUInt32LE(16))
    throw damaged('its checksum is wrong');
  const header = sector.readUInt32LE(20);
  if (header < labelHeaderBytes || header + uuidBytes + 8 > sectorBytes)
    throw damaged(`its header is at ${header}`);
  const uuid = sector.toString('latin1', header, header + uuidBytes);
  if (!/^[A-Za-z0-9]{32}$/.test(uuid)) throw damaged('its UUID is none');
  const data = locations(sector, header + uuidBytes + 8);
  const metadata = locations(sector, data.end);
  const metadataAreas = metadata.areas.map(({ offset, size }) => {
    if (offset + size > BigInt(diskBytes)) throw damaged('its metadata area leaves the disk');
    return { offset: Number(offset), size: Number(size) };
  });
  return { uuid, metadataAreas };
}

/** A list of offsets and sizes, ended by one that is zero. */
function locations(
  sector: Buffer,
  from: number,
): { areas: Array<{ offset: bigint; size: bigint }>; end: number } {
  const areas: Array<{ offset: bigint; size: bigint }> = [];
  for (let at = from; at + locationBytes <= sector.length; at += locationBytes) {
    const offset = sector.readBigUInt64LE(at);
    const size = sector.readBigUInt64LE(at + 8);
    if (offset === 0n) return { areas, end: at + locationBytes };
    areas.push({ offset, size });
  }
  throw damaged('a list in it has no end');
}

function damaged(what: string): StillError {
  return new StillError('EIO', `the label of the LVM physical volume is damaged: ${what}`);
}
