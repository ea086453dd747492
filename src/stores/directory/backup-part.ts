import type { StoreFolder } from '../../disks/store-folder.js';
import type { Name } from '../../name.js';
import { inFolder, listBeneath, type StoredEntry, type StoredStat, statAllBeneath } from './stored-entry.js';

/** A backup with more entries than this is refused (EFBIG): its parts are held in memory. */
const mostEntries = 10_000;

/** The folder of a backup in which its disks may lie, beside those in its own. */
export const disksFolder = 'disks' as Name;

/** What lies in a backup's folder, or in its `disks/`. */
export interface BackupPart extends StoredEntry {
  /** Within the backup's folder. */
  readonly path: Name;
  /** Undefined where it went away between the listing and the look. */
  readonly stat: StoredStat | undefined;
}

/** What a backup is made of. What begins with `.` is not part of it. */
export async function partsOf(folder: StoreFolder, path: Name, signal: AbortSignal): Promise<BackupPart[]> {
  const shown = ({ name }: StoredEntry): boolean => !name.startsWith('.');
  const { entries } = await listBeneath(folder, path, mostEntries, signal);
  const found = entries.filter(shown).map((entry) => ({ ...entry, path: entry.name }));
  if (found.some((entry) => entry.path === disksFolder && entry.type === 'directory')) {
    const inner = await listBeneath(folder, inFolder(path, disksFolder), mostEntries, signal);
    found.push(
      ...inner.entries.filter(shown).map((entry) => ({ ...entry, path: inFolder(disksFolder, entry.name) })),
    );
  }
  const paths = found.map((entry) => inFolder(path, entry.path));
  const stats = await statAllBeneath(folder, paths, signal);
  return found.map((entry, index) => ({ ...entry, stat: stats[index] }));
}
