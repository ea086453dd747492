import { StillError } from '../../errors.js';

// "FAT: General Overview of On-Disk Format", 3; Linux: include/uapi/linux/msdos_fs.h (struct fat_boot_sector)
export const bootSectorBytes = 512;
const mark = 0xaa55;
const slotBytes = 32;
/** Where BitLocker To Go has the GUID that tells its boot sector from FAT's. */
const bitLockerToGo = Buffer.from('3bd66749292ed84a8399f6a339e3d001', 'hex');
const bitLockerToGoAt = 424;

/** What the boot sector tells. Offsets are bytes from the disk's start. */
export interface FatGeometry {
  readonly bits: 12 | 16 | 32;
  readonly sectorBytes: number;
  readonly clusterBytes: number;
  readonly clusterCount: number;
  /** The table that is in use. */
  readonly tableOffset: number;
  readonly tableBytes: number;
  /** The root folder, where it has a place of its own (FAT12, FAT16); bytes. */
  readonly fixedRoot: { readonly offset: number; readonly size: number } | undefined;
  /** The root folder's first cluster (FAT32). */
  readonly rootCluster: number;
  /** Where cluster 2 begins. */
  readonly dataOffset: number;
  /** Bytes of the whole file system. */
  readonly totalBytes: number;
  /** As blkid(8) writes it; none where the boot sector is an old one without. */
  readonly serial: string | undefined;
  /** Eleven bytes; the root folder's label goes before it. */
  readonly label: Buffer | undefined;
}

/** Whether the first sectors of a disk are those of FAT. */
export function isFat(first: Buffer): boolean {
  if (first.length < bootSectorBytes || first.readUInt16LE(510) !== mark) return false;
  if (first[0] !== 0xeb && first[0] !== 0xe9) return false;
  if (first.subarray(bitLockerToGoAt, bitLockerToGoAt + bitLockerToGo.length).equals(bitLockerToGo))
    return false;
  try {
    parseBootSector(first);
    return true;
  } catch (error) {
    if (error instanceof StillError) return false;
    throw error;
  }
}

/** Reads and checks a boot sector. EIO: it is damaged, or none. */
export function parseBootSector(bytes: Buffer): FatGeometry {
  if (bytes.length < bootSectorBytes) throw damaged(`${bytes.length} bytes are too few`);
  const sectorBytes = bytes.readUInt16LE(11);
  const sectorsPerCluster = bytes[13] ?? 0;
  const reserved = bytes.readUInt16LE(14);
  const tables = bytes[16] ?? 0;
  const rootSlots = bytes.readUInt16LE(17);
  const media = bytes[21] ?? 0;
  if (![512, 1024, 2048, 4096].includes(sectorBytes)) throw damaged(`sectors of ${sectorBytes} bytes`);
  if (sectorsPerCluster === 0 || (sectorsPerCluster & (sectorsPerCluster - 1)) !== 0)
    throw damaged(`clusters of ${sectorsPerCluster} sectors`);
  if (reserved === 0 || tables === 0) throw damaged(`${reserved} reserved sectors and ${tables} tables`);
  if (media !== 0xf0 && media < 0xf8) throw damaged(`the medium ${media}`);

  const oldTableSectors = bytes.readUInt16LE(22);
  const isFat32 = oldTableSectors === 0;
  const tableSectors = oldTableSectors || bytes.readUInt32LE(36);
  const totalSectors = bytes.readUInt16LE(19) || bytes.readUInt32LE(32);
  const rootSectors = Math.ceil((rootSlots * slotBytes) / sectorBytes);
  if (isFat32 ? bytes.readUInt16LE(42) !== 0 : rootSlots === 0)
    throw damaged(isFat32 ? `version ${bytes.readUInt16LE(42)} of FAT32` : 'no root folder');
  const dataSector = reserved + tables * tableSectors + rootSectors;
  if (tableSectors === 0 || totalSectors <= dataSector)
    throw damaged(`${totalSectors} sectors, of which ${dataSector} are tables`);

  const told = Math.floor((totalSectors - dataSector) / sectorsPerCluster);
  const bits = isFat32 ? 32 : told > 4084 ? 16 : 12;
  const tableBytes = tableSectors * sectorBytes;
  // Linux uses no more clusters than there are entries for.
  const clusterCount = Math.min(told, Math.floor((tableBytes * 8) / bits) - 2);
  if (clusterCount < 1) throw damaged('no clusters');
  const flags = isFat32 ? bytes.readUInt16LE(40) : 0;
  const isMirrored = (flags & 0x80) === 0;
  const active = isMirrored ? 0 : flags & 0xf;
  if (active >= tables) throw damaged(`table ${active} of ${tables} is said to be in use`);
  const extension = isFat32 ? 66 : 38;
  const isExtended = bytes[extension] === 0x29 || bytes[extension] === 0x28;
  return {
    bits,
    sectorBytes,
    clusterBytes: sectorsPerCluster * sectorBytes,
    clusterCount,
    tableOffset: (reserved + active * tableSectors) * sectorBytes,
    tableBytes,
    fixedRoot: isFat32
      ? undefined
      : { offset: (reserved + tables * tableSectors) * sectorBytes, size: rootSlots * slotBytes },
    rootCluster: isFat32 ? bytes.readUInt32LE(44) : 0,
    dataOffset: dataSector * sectorBytes,
    totalBytes: totalSectors * sectorBytes,
    serial: isExtended ? serialOf(bytes.readUInt32LE(extension + 1)) : undefined,
    label: bytes[extension] === 0x29 ? Buffer.from(bytes.subarray(extension + 5, extension + 16)) : undefined,
  };
}

function serialOf(serial: number): string {
  const digits = serial.toString(16).toUpperCase().padStart(8, '0');
  return `${digits.slice(0, 4)}-${digits.slice(4)}`;
}

function damaged(what: string): StillError {
  return new StillError('EIO', `the boot sector of the FAT file system is damaged: ${what}`);
}
