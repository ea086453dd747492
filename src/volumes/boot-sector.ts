/**
 * Whether a disk's first 512 bytes begin a file system that marks them as an MBR is marked: FAT, exFAT, NTFS. What stands in place
 * of a partition table there is a program, or zeros, or a row that some formatting programs feign.
 */
export function isFileSystemBootSector(sector: Buffer): boolean {
  if (sector.length < 512) return false;
  const oem = sector.toString('latin1', 3, 11);
  if (oem === 'NTFS    ' || oem === 'EXFAT   ' || oem === '-FVE-FS-') return true;
  // The BIOS parameter block of FAT: "FAT: General Overview of On-Disk Format", 3.1
  const bytesPerSector = sector.readUInt16LE(11);
  const sectorsPerCluster = sector[13] ?? 0;
  const fats = sector[16] ?? 0;
  const media = sector[21] ?? 0;
  return (
    (sector[0] === 0xeb || sector[0] === 0xe9) &&
    [512, 1024, 2048, 4096].includes(bytesPerSector) &&
    sectorsPerCluster > 0 &&
    (sectorsPerCluster & (sectorsPerCluster - 1)) === 0 &&
    sector.readUInt16LE(14) > 0 &&
    (fats === 1 || fats === 2) &&
    (media === 0xf0 || media >= 0xf8)
  );
}
