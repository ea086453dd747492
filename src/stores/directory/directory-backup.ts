import { createHash } from 'node:crypto';
import { openRawImage } from '../../disks/raw/raw-image.js';
import type { StoreFolder } from '../../disks/store-folder.js';
import { type Name, nameToText } from '../../name.js';
import type { Backup, BackupReference, StoredDisk, StoredFile } from '../store.js';
import { backupJson, type Declared, readBackupJson } from './backup-json.js';
import { type BackupPart, disksFolder, partsOf } from './backup-part.js';
import { diskOfFileName, openImage } from './disk-format.js';
import { type DiskPart, describePart, disksAmong } from './stored-disks.js';
import { inFolder, type StoredStat } from './stored-entry.js';
import { type RootfsOptions, rootfsAmong } from './stored-rootfs.js';

/** The maps that a tool copied together with the disks; they are made anew from the disks themselves. */
const isCopiedMap = (name: Name): boolean => name.endsWith('.dirty.json') || name.endsWith('.dirty.map');

/** Opens the backup in a folder of a store: lists it, looks at its parts, reads its `backup.json`; opens no part. */
export async function openDirectoryBackup(
  folder: StoreFolder,
  path: Name,
  reference: BackupReference,
  options: RootfsOptions,
  signal: AbortSignal,
): Promise<Backup> {
  const parts = await partsOf(folder, path, signal);
  const json = parts.find((part) => part.path === backupJson && part.type === 'file');
  const declared: Declared = json
    ? await readBackupJson(folder, inFolder(path, json.path), signal)
    : { disks: [], problems: [] };
  const { disks, problems } = disksAmong(parts, declared);

  const rootfs = rootfsAmong(parts);
  // Whoever looks at the backup may look into it next.
  if (rootfs.format) options.archives.prepare(rootfs.format);

  const shownElsewhere = new Set([
    disksFolder,
    ...disks.map((disk) => disk.path),
    ...(rootfs.path ? [rootfs.path] : []),
  ]);
  const files: StoredFile[] = [];
  for (const part of parts) {
    if (shownElsewhere.has(part.path)) continue;
    if (diskOfFileName(part.name)) continue; // the second file of a disk: a problem already
    if (part.path !== part.name) {
      if (!isCopiedMap(part.name)) problems.push(`${nameToText(part.path)} is not shown: it is no disk`);
    } else if (part.type !== 'file' || !part.stat) {
      problems.push(
        `${nameToText(part.path)} is not shown: ${part.stat ? describePart(part) : 'it went away'}`,
      );
    } else {
      files.push(storedFile(folder, inFolder(path, part.path), part.name, part.stat));
    }
  }

  const { open } = rootfs;
  return {
    reference,
    version: versionOf(parts),
    files,
    disks: disks.map((disk) => storedDisk(folder, path, disk)),
    problems: [...declared.problems, ...problems, ...rootfs.problems],
    ...(open && {
      rootfs: (opening, problem) => open({ folder, backup: path, ...options }, opening, problem),
    }),
  };
}

function storedFile(folder: StoreFolder, path: Name, name: Name, stat: StoredStat): StoredFile {
  const { size, modified } = stat;
  return { name, size, modified, open: (signal) => openRawImage(folder, path, signal) };
}

function storedDisk(folder: StoreFolder, backup: Name, { name, path, format }: DiskPart): StoredDisk {
  return { name, open: (signal) => openImage(folder, inFolder(backup, path), format, signal) };
}

function versionOf(parts: readonly BackupPart[]): string {
  const hash = createHash('sha1');
  // A folder's own times change with what is in it, which for rootfs/ is nothing of ours.
  for (const { path, type, stat } of parts)
    hash.update(`${path}\0${type}\0${type === 'file' ? stat?.identity : ''}\0`);
  return hash.digest('base64');
}
