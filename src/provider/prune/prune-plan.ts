import { longestChain } from '../../disks/qcow2/chain.js';
import type { LinkedBackup, LinkedDisk } from '../stored/backup-links.js';
import type { StoredImage } from '../stored/based-on.js';
import type { Mark } from './keep-rules.js';

/** A disk that is made one with the images of removed backups that it is based on. */
export interface MergedDisk {
  readonly name: string;
  /** Within the folder of its backup. */
  readonly file: string;
  /** How many images, its own the first, become one. */
  readonly images: number;
  /** What the new image is based on; undefined: nothing. */
  readonly basis: StoredImage | undefined;
}

/** A backup that is kept, and builds on some that are not. */
export interface Merge {
  readonly backup: string;
  readonly disks: readonly MergedDisk[];
  /** The backups whose images go into it. */
  readonly takesIn: readonly string[];
}

export interface PrunePlan {
  /** Oldest first. Each can be done by itself. */
  readonly merges: readonly Merge[];
  /** Newest first: none of them is built on by one that comes after it. */
  readonly removals: readonly string[];
  /** Backups that would be removed but are needed, and why. */
  readonly needed: ReadonlyMap<string, string>;
}

/**
 * Plans what is done to remove backups that have the mark `remove`, so that each other one reads the same before and after: what kept
 * ones take from removed ones is merged into them. What can't be merged is kept. `linked` is oldest first.
 */
export function planPrune(
  guest: string,
  linked: readonly LinkedBackup[],
  marks: ReadonlyMap<string, Mark>,
): PrunePlan {
  const byFolder = new Map(linked.map((each) => [each.backup, each]));
  const needed = new Map<string, string>();
  const isRemoved = (backup: string): boolean => marks.get(backup) === 'remove' && !needed.has(backup);
  // A backup whose basis can't be told may build on any that is older.
  const unknown = linked.find(({ backup, problems }) => problems.length > 0 && !isRemoved(backup));
  if (unknown)
    for (const { backup } of linked) if (isRemoved(backup)) needed.set(backup, unknown.problems[0] ?? '');
  for (;;) {
    const before = needed.size;
    const merges: Merge[] = [];
    for (const each of linked) {
      if (isRemoved(each.backup)) continue;
      try {
        const merge = planMerge(guest, each, byFolder, isRemoved);
        if (merge) merges.push(merge);
      } catch (error) {
        if (!(error instanceof NotMergeable)) throw error;
        for (const backup of ancestorsOf(each, byFolder))
          if (isRemoved(backup)) needed.set(backup, `${each.backup} builds on it: ${error.message}`);
      }
    }
    // What is needed after all is a basis for others: they are planned anew.
    if (needed.size > before) continue;
    const removals = linked.map(({ backup }) => backup).filter(isRemoved);
    return { merges, removals: removals.reverse(), needed };
  }
}

/** Why something can't be merged, as a sentence goes on. */
class NotMergeable extends Error {}

function planMerge(
  guest: string,
  { backup, content, disks, parents }: LinkedBackup,
  byFolder: ReadonlyMap<string, LinkedBackup>,
  isRemoved: (backup: string) => boolean,
): Merge | undefined {
  const takesIn = new Set<string>();
  const merged: MergedDisk[] = [];
  for (const disk of disks) {
    let basis = disk.basis;
    let images = 1;
    while (basis && basis.guest === guest && isRemoved(basis.backup)) {
      if (++images > longestChain) throw new NotMergeable(`${disk.file} has a chain that does not end`);
      takesIn.add(basis.backup);
      basis = imageAt(basis, byFolder).basis;
    }
    if (images === 1) continue;
    const described = content.description?.disks?.[disk.name];
    if (described?.file !== disk.file || described.sums === undefined)
      throw new NotMergeable(`${disk.file} has no checksums by which a merge could be verified`);
    if (disk.file.includes('/')) throw new NotMergeable(`${disk.file} lies in a folder of its own`);
    if (basis && basis.guest !== guest)
      throw new NotMergeable(`${disk.file} is based on an image of guest ${basis.guest}`);
    if (basis) imageAt(basis, byFolder);
    merged.push({ name: disk.name, file: disk.file, images, basis });
  }
  const unseen = [...parents].find((parent) => isRemoved(parent) && !takesIn.has(parent));
  if (unseen !== undefined)
    throw new NotMergeable(`its backup.json names ${unseen}, and none of its images does`);
  return merged.length === 0 ? undefined : { backup, disks: merged, takesIn: [...takesIn] };
}

function imageAt({ backup, file }: StoredImage, byFolder: ReadonlyMap<string, LinkedBackup>): LinkedDisk {
  const found = byFolder.get(backup)?.disks.find((disk) => disk.file === file);
  if (found) return found;
  throw new NotMergeable(`what ${backup}/${file} is based on can't be told`);
}

function ancestorsOf(backup: LinkedBackup, byFolder: ReadonlyMap<string, LinkedBackup>): Set<string> {
  const found = new Set(backup.parents);
  for (const each of found) for (const parent of byFolder.get(each)?.parents ?? []) found.add(parent);
  return found;
}
