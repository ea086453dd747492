import type { Disk } from '../../src/disks/disk.js';
import { openExt } from '../../src/filesystems/ext/ext.js';
import type { FileSystem, FileSystemOptions } from '../../src/filesystems/file-system.js';
import { openXfs } from '../../src/filesystems/xfs/xfs.js';

export type OpenFileSystem = (disk: Disk, options: FileSystemOptions) => Promise<FileSystem>;

/** The readers of file systems, by the names that tests call them. */
export const fileSystemKinds = { ext: openExt, xfs: openXfs } as const satisfies Readonly<Record<string, OpenFileSystem>>;

export type TestedKind = keyof typeof fileSystemKinds;
