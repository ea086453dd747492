import { StillError } from '../../errors.js';
import { isPowerOfTwo, size64 } from './integers.js';

// ntfs-3g's layout.h: struct NTFS_BOOT_SECTOR
const oemId = Buffer.from('NTFS    ', 'latin1');
export const bootSectorBytes = 512;
const sectors = { smallest: 256, largest: 4096 };
const largestCluster = 2 << 20;
const records = { smallest: 512, largest: 65536 };

/** What the boot sector tells of a volume. Places and sizes are bytes. */
export interface Geometry {
  readonly clusterBytes: number;
  /** Those that are on the disk: fewer than there should be where it is cut short. */
  readonly clusters: number;
  /** Of one record of the master file table. */
  readonly recordBytes: number;
  readonly volumeBytes: number;
  /** Where the master file table begins, and the copy of its first records. */
  readonly mft: number;
  readonly mirror: number;
  /** As blkid(8) writes it: 16 hexadecimal digits. */
  readonly serial: string;
}

/** Whether the first bytes of a disk are those of an NTFS volume. */
export function isNtfs(first: Buffer): boolean {
  if (first.length < bootSectorBytes || !first.subarray(3, 11).equals(oemId)) return false;
  try {
    parseBootSector(first, Number.MAX_SAFE_INTEGER);
    return true;
  } catch (error) {
    if (error instanceof StillError) return false;
    throw error;
  }
}

/** Reads and checks the boot sector of a disk of so many bytes. EIO: it is damaged, or none. */
export function parseBootSector(bytes: Buffer, diskBytes: number): Geometry {
  if (bytes.length < bootSectorBytes || !bytes.subarray(3, 11).equals(oemId))
    throw new StillError('EIO', 'no NTFS volume: it does not begin with an NTFS boot sector');
  const sectorBytes = bytes.readUInt16LE(11);
  if (!isPowerOfTwo(sectorBytes) || sectorBytes < sectors.smallest || sectorBytes > sectors.largest)
    throw damaged(`sectors of ${sectorBytes} bytes`);
  const told = bytes.readUInt8(13);
  // Clusters beyond 128 sectors are told by the logarithm of their number, as 256 - log2.
  const sectorsPerCluster = told > 128 ? 2 ** (256 - told) : told;
  const clusterBytes = sectorBytes * sectorsPerCluster;
  if (!isPowerOfTwo(sectorsPerCluster) || clusterBytes > largestCluster)
    throw damaged(`clusters of ${sectorsPerCluster} sectors`);
  // Where a FAT file system would have its reserved sectors, tables, root entries and sizes.
  const ofOthers = [14, 17, 19, 22].map((at) => bytes.readUInt16LE(at));
  if (bytes.readUInt8(16) !== 0 || bytes.readUInt32LE(32) !== 0 || ofOthers.some((value) => value !== 0))
    throw damaged('fields that belong to FAT are in use');

  const volumeBytes = size64(bytes, 40) * sectorBytes;
  const wholeClusters = Math.floor(volumeBytes / clusterBytes);
  if (!Number.isSafeInteger(volumeBytes) || wholeClusters === 0)
    throw damaged('it has no sectors, or too many');
  const clusterAt = (at: number, what: string): number => {
    const cluster = size64(bytes, at);
    if (!(cluster > 0 && cluster < wholeClusters)) throw damaged(`${what} lies at cluster ${cluster}`);
    return cluster * clusterBytes;
  };
  const mft = clusterAt(48, 'its master file table');
  const mirror = clusterAt(56, 'the copy of its master file table');
  if (mft === mirror) throw damaged('its master file table and the copy of it lie at one place');
  return {
    clusterBytes,
    clusters: Math.min(wholeClusters, Math.floor(diskBytes / clusterBytes)),
    recordBytes: recordBytes(bytes.readInt8(64), clusterBytes),
    volumeBytes,
    mft,
    mirror,
    serial: bytes.readBigUInt64LE(72).toString(16).toUpperCase().padStart(16, '0'),
  };
}

/** Above 0 it is a number of clusters, below it is the logarithm of the bytes. */
function recordBytes(told: number, clusterBytes: number): number {
  const size = told < 0 ? 2 ** -told : told * clusterBytes;
  if (isPowerOfTwo(size) && size >= records.smallest && size <= records.largest) return size;
  throw damaged(`records of ${size} bytes`);
}

function damaged(how: string): StillError {
  return new StillError('EIO', `the boot sector of the NTFS volume is damaged: ${how}`);
}
