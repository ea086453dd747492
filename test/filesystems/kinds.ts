import type { Disk } from '../../src/disks/disk.js';
import { openExfat } from '../../src/filesystems/exfat/exfat.js';
import { openExt } from '../../src/filesystems/ext/ext.js';
import { openFat } from '../../src/filesystems/fat/fat.js';
import type { FileSystem, FileSystemOptions } from '../../src/filesystems/file-system.js';
import { openNtfs } from '../../src/filesystems/ntfs/ntfs.js';
import { openXfs } from '../../src/filesystems/xfs/xfs.js';

export type OpenFileSystem = (disk: Disk, options: FileSystemOptions) => Promise<FileSystem>;

/** The readers of file systems, by the names that tests call them. */
export const fileSystemKinds = {
  exfat: openExfat,
  ext: openExt,
  ntfs: openNtfs,
  vfat: openFat,
  xfs: openXfs,
} as const satisfies Readonly<Record<string, OpenFileSystem>>;

export type TestedKind = keyof typeof fileSystemKinds;
