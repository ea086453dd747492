import { type Name, nameToText } from '../../name.js';
import type { Declared } from './backup-json.js';
import type { BackupPart } from './backup-part.js';
import { type DiskFormat, diskFormats, diskOfFileName } from './disk-format.js';

/** A disk of a backup, by the file that it lies in. */
export interface DiskPart {
  readonly name: Name;
  readonly format: DiskFormat;
  /** Undefined where the file is missing. */
  readonly part: BackupPart | undefined;
  /** Within the backup's folder. */
  readonly path: Name;
}

/**
 * The disks of a backup. Where several files claim one name, the first is the disk and the others are problems: what
 * `backup.json` declares, then files of the backup's own folder, then those of `disks/`; in each by the order of
 * `diskFormats`, then by name.
 */
export function disksAmong(
  parts: readonly BackupPart[],
  declared: Declared,
): { disks: DiskPart[]; problems: string[] } {
  const byPath = new Map(parts.map((part) => [part.path, part]));
  const candidates: DiskPart[] = declared.disks.map(({ name, format, file }) => ({
    name,
    format,
    path: file,
    part: byPath.get(file),
  }));
  const declaredPaths = new Set(candidates.map(({ path }) => path));
  const told = parts.flatMap((part): DiskPart[] => {
    const disk = declaredPaths.has(part.path) ? undefined : diskOfFileName(part.name);
    return disk ? [{ name: disk.disk, format: disk.format, path: part.path, part }] : [];
  });
  const rank = ({ path, format }: DiskPart): number =>
    (path.startsWith('disks/') ? diskFormats.length : 0) + diskFormats.indexOf(format);
  candidates.push(...told.sort((a, b) => rank(a) - rank(b)));

  const disks = new Map<Name, DiskPart>();
  const problems: string[] = [];
  for (const disk of candidates) {
    const first = disks.get(disk.name);
    const path = nameToText(disk.path);
    if (first) {
      problems.push(
        `${path} is not shown: ${nameToText(first.path)} is the disk ${nameToText(disk.name)} already`,
      );
      continue;
    }
    disks.set(disk.name, disk);
    if (!disk.part?.stat)
      problems.push(`${path} is missing: the disk ${nameToText(disk.name)} can't be read`);
    else if (disk.part.type !== 'file') {
      problems.push(`${path} can't be read: ${describePart(disk.part)}; a disk is a regular file`);
    }
  }
  return { disks: [...disks.values()].sort((a, b) => (a.name < b.name ? -1 : 1)), problems };
}

/** Why something is no file, as a sentence goes on. */
export function describePart(part: BackupPart): string {
  return part.type === 'directory' ? 'it is a folder' : `it is a ${part.type}`;
}
