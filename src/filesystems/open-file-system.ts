import type { Disk } from '../disks/disk.js';
import { isExfat, openExfat } from './exfat/exfat.js';
import { isExt, openExt } from './ext/ext.js';
import { isFat, openFat } from './fat/fat.js';
import type { FileSystem, FileSystemOptions } from './file-system.js';
import { isNtfs, openNtfs } from './ntfs/ntfs.js';
import { isXfs, openXfs } from './xfs/xfs.js';

/** As much of a volume's beginning as tells what it holds, bytes. */
export const recognisedBytes = 64 * 1024;

interface Reader {
  is(first: Buffer): boolean;
  open(disk: Disk, options: FileSystemOptions): Promise<FileSystem>;
}

/** The kinds that are read. Where two could be meant, the first is: what would be left over of an older one comes last. */
const readers: readonly Reader[] = [
  { is: isXfs, open: openXfs },
  { is: isNtfs, open: openNtfs },
  { is: isExfat, open: openExfat },
  { is: isExt, open: openExt },
  { is: isFat, open: openFat },
];

/**
 * Opens what a volume holds. Undefined: no reader knows it. The file system closes the disk; where opening fails it stays
 * the caller's.
 */
export async function openFileSystem(
  disk: Disk,
  options: FileSystemOptions,
): Promise<FileSystem | undefined> {
  const first = Buffer.alloc(Math.min(recognisedBytes, disk.size));
  await disk.read(0, first, options.signal);
  return readers.find((reader) => reader.is(first))?.open(disk, options);
}
