import type { StoreFolder } from '../../disks/store-folder.js';
import { messageOf } from '../../errors.js';
import { nameToText } from '../../name.js';
import { type BackupContent, readContent } from './backup-content.js';
import { imageBasis, type StoredImage } from './based-on.js';

/** A disk of a backup, and the image that it is based on. */
export interface LinkedDisk {
  readonly name: string;
  /** Within the backup's folder. */
  readonly file: string;
  readonly basis: StoredImage | undefined;
}

/** A backup and what it builds on. */
export interface LinkedBackup {
  readonly backup: string;
  readonly content: BackupContent;
  readonly disks: readonly LinkedDisk[];
  /** The backups of the same guest that its disks are directly based on: by their images, and by `backup.json` where it says more. */
  readonly parents: ReadonlySet<string>;
  /** Why it can't be told what some of it builds on. */
  readonly problems: readonly string[];
}

/** Finds out what each of a guest's backups builds on: reads the headers of their images. In the order of `backups`. */
export async function linkBackups(
  store: StoreFolder,
  guest: string,
  backups: readonly string[],
  signal: AbortSignal,
): Promise<LinkedBackup[]> {
  const linked: LinkedBackup[] = [];
  for (const backup of backups) linked.push(await linkBackup(store, guest, backup, signal));
  return linked;
}

async function linkBackup(
  store: StoreFolder,
  guest: string,
  backup: string,
  signal: AbortSignal,
): Promise<LinkedBackup> {
  const content = await readContent(store, guest, backup, signal);
  const disks: LinkedDisk[] = [];
  const parents = new Set<string>();
  const problems: string[] = [];
  for (const disk of Object.values(content.description?.disks ?? {}))
    if (disk.parent) parents.add(disk.parent);
  for (const { name, path, format, part } of content.disks) {
    const file = nameToText(path);
    if (format !== 'qcow2' || part?.type !== 'file') continue;
    try {
      const { image } = await imageBasis(store, { guest, backup, file }, signal);
      disks.push({ name: nameToText(name), file, basis: image });
      if (image?.guest === guest) parents.add(image.backup);
    } catch (error) {
      signal.throwIfAborted();
      problems.push(`it can't be told what ${backup}/${file} is based on: ${messageOf(error)}`);
    }
  }
  return { backup, content, disks, parents, problems };
}

/** The backups that build on one, directly or through others, in the order of `linked`. */
export function dependentsOf(linked: readonly LinkedBackup[], backup: string): string[] {
  const found = new Set([backup]);
  for (let before = 0; before < found.size; ) {
    before = found.size;
    for (const each of linked)
      if ([...each.parents].some((parent) => found.has(parent))) found.add(each.backup);
  }
  return linked.map((each) => each.backup).filter((each) => each !== backup && found.has(each));
}
