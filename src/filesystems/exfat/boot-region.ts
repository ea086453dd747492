import { StillError } from '../../errors.js';

// exFAT specification, 3 "Main and Backup Boot Regions"
export const smallestSector = 512;
const name = Buffer.from('EXFAT   ', 'latin1');
const mark = 0xaa55;
const zeros = { from: 11, to: 64 } as const;
const checkedSectors = 11;
/** The sectors of a boot region: the last one repeats the checksum of those before. */
export const regionSectors = 12;
/** Bytes that change without the checksum: the volume's flags, and how full it is. */
const unchecked: ReadonlySet<number> = new Set([106, 107, 112]);
const largestClusterShift = 25;

/** What the boot sector tells. Offsets are bytes from the disk's start. */
export interface ExfatGeometry {
  readonly sectorBytes: number;
  readonly clusterBytes: number;
  readonly clusterCount: number;
  /** The table that is in use. */
  readonly tableOffset: number;
  readonly tableBytes: number;
  /** Where cluster 2 begins. */
  readonly heapOffset: number;
  readonly rootCluster: number;
  readonly totalBytes: number;
  /** As blkid(8) writes it. */
  readonly serial: string;
}

/** Whether the first sectors of a disk are those of exFAT. */
export function isExfat(first: Buffer): boolean {
  if (first.length < smallestSector || !hasName(first)) return false;
  try {
    parseBootSector(first);
    return true;
  } catch (error) {
    if (error instanceof StillError) return false;
    throw error;
  }
}

function hasName(bytes: Buffer): boolean {
  return bytes.readUInt16LE(510) === mark && bytes.subarray(3, 11).equals(name);
}

/** Reads and checks a boot sector, but for its checksum. EIO: it is damaged, or none. EOPNOTSUPP: of a version that is not read. */
export function parseBootSector(bytes: Buffer): ExfatGeometry {
  if (bytes.length < smallestSector || !hasName(bytes)) throw damaged('its mark is missing');
  if (bytes.subarray(zeros.from, zeros.to).some((byte) => byte !== 0))
    throw damaged('it looks like one of FAT');
  const sectorShift = bytes[108] ?? 0;
  const clusterShift = sectorShift + (bytes[109] ?? 0);
  if (sectorShift < 9 || sectorShift > 12 || clusterShift > largestClusterShift)
    throw damaged(`sectors of 2^${sectorShift} bytes, clusters of 2^${clusterShift}`);
  const revision = bytes.readUInt16LE(104);
  if (revision >>> 8 !== 1)
    throw new StillError(
      'EOPNOTSUPP',
      `exFAT of version ${revision >>> 8}.${revision & 0xff}; only 1 is read`,
    );
  const sectorBytes = 2 ** sectorShift;
  const clusterBytes = 2 ** clusterShift;
  const sectors = bytes.readBigUInt64LE(72);
  const tableSector = bytes.readUInt32LE(80);
  const tableSectors = bytes.readUInt32LE(84);
  const heapSector = bytes.readUInt32LE(88);
  const clusterCount = bytes.readUInt32LE(92);
  const rootCluster = bytes.readUInt32LE(96);
  const tables = bytes[110] ?? 0;
  const active = bytes.readUInt16LE(106) & 1;
  if (tables < 1 || tables > 2 || active >= tables) throw damaged(`table ${active} of ${tables} is in use`);
  if (clusterCount === 0 || tableSectors * sectorBytes < (clusterCount + 2) * 4)
    throw damaged(`a table of ${tableSectors} sectors for ${clusterCount} clusters`);
  if (tableSector < 24 || heapSector < tableSector + tables * tableSectors)
    throw damaged(`its tables are at sector ${tableSector}, its clusters at ${heapSector}`);
  const end = BigInt(heapSector) * BigInt(sectorBytes) + BigInt(clusterCount) * BigInt(clusterBytes);
  if (end > sectors * BigInt(sectorBytes) || end > BigInt(Number.MAX_SAFE_INTEGER))
    throw damaged(`its clusters end at ${end}, of ${sectors} sectors`);
  if (rootCluster < 2 || rootCluster >= clusterCount + 2) throw damaged(`its root is cluster ${rootCluster}`);
  const serial = bytes.readUInt32LE(100).toString(16).toUpperCase().padStart(8, '0');
  return {
    sectorBytes,
    clusterBytes,
    clusterCount,
    tableOffset: (tableSector + active * tableSectors) * sectorBytes,
    tableBytes: tableSectors * sectorBytes,
    heapOffset: heapSector * sectorBytes,
    rootCluster,
    totalBytes: Number(end),
    serial: `${serial.slice(0, 4)}-${serial.slice(4)}`,
  };
}

/** Whether the checksum of a boot region is right. `bytes`: all of its sectors. */
export function isRegionWhole(bytes: Buffer, sectorBytes: number): boolean {
  const end = checkedSectors * sectorBytes;
  let sum = 0;
  for (let at = 0; at < end; at++) {
    if (!unchecked.has(at)) sum = (((sum << 31) | (sum >>> 1)) + (bytes[at] ?? 0)) >>> 0;
  }
  for (let at = end; at < end + sectorBytes; at += 4) {
    if (bytes.readUInt32LE(at) !== sum) return false;
  }
  return true;
}

function damaged(what: string): StillError {
  return new StillError('EIO', `the boot sector of the exFAT file system is damaged: ${what}`);
}
