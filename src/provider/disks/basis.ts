import { join } from 'node:path';
import { longestChain } from '../../disks/qcow2/chain.js';
import type { StoreFolder } from '../../disks/store-folder.js';
import { messageOf, StillError } from '../../errors.js';
import type { BackupDescription } from '../../stores/directory/backup-json.js';
import type { SnapshotDiskFacts } from '../mounted/mounted-snapshot.js';
import { newestFirst, readDescription } from '../stored/stored-backups.js';
import { ParentDisk } from './parent-disk.js';

/** What a disk is stored relative to. */
export type Basis =
  /** Nothing: all of it is stored. */
  | { readonly kind: 'whole'; readonly reason?: string }
  /** A parent; the snapshot's map tells what has changed since. */
  | { readonly kind: 'increment'; readonly parent: ParentDisk }
  /** A parent; what has changed since is found by comparison. */
  | { readonly kind: 'comparison'; readonly parent: ParentDisk; readonly reason: string };

export interface BasisQuestion {
  readonly store: StoreFolder;
  readonly guest: string;
  /** Null: a full backup, upon nothing. */
  readonly chain: string | null;
  readonly disk: SnapshotDiskFacts;
  /** Only what its map calls changed can be read of the disk. */
  readonly limited: boolean;
}

/**
 * Decides what a disk is stored relative to. Its map counts only upon the very state that it is relative to: the newest backup of
 * the chain whose id of the disk is the map's `base`. Where that is not here, the disk is compared with the chain's newest one.
 * EIO: neither, and the disk can't be read as a whole.
 */
export async function findBasis(question: BasisQuestion, signal: AbortSignal): Promise<Basis> {
  const { store, guest, chain, disk, limited } = question;
  if (chain === null) return { kind: 'whole' };
  const guestFolder = join(store.path, guest);
  const problems: string[] = [];
  const opened = async (backup: string, description: BackupDescription): Promise<ParentDisk | undefined> => {
    const described = description.disks?.[disk.name];
    if (!described) return undefined;
    try {
      if ((await imagesOf(guestFolder, backup, disk.name)) >= longestChain)
        throw new StillError('ELOOP', `it is made of ${longestChain} images, the most that can be read`);
      return await ParentDisk.open(store, guest, backup, described, signal);
    } catch (error) {
      signal.throwIfAborted();
      problems.push(`${backup} can't be built upon: ${messageOf(error)}`);
      return undefined;
    }
  };

  const reuses = disk.mode === 'reuse' && disk.base !== null;
  let newest: { folder: string; description: BackupDescription } | undefined;
  for await (const backup of newestFirst(guestFolder)) {
    const described = backup.description.disks?.[disk.name];
    if (backup.description.chain !== chain || !described) continue;
    newest ??= backup;
    if (!reuses) break;
    if (described.id !== disk.base) continue;
    const parent = await opened(backup.folder, backup.description);
    if (parent) return { kind: 'increment', parent };
    break;
  }
  if (limited) {
    const why = problems[0] ?? `the backup that it is relative to (${disk.base}) is not in the store`;
    throw new StillError(
      'EIO',
      `only what has changed of ${disk.name} can be read (readable: dirty), and ${why}; ` +
        `begin the chain anew: stillfs chain drop ${guest} ${chain}`,
    );
  }
  if (!newest) return { kind: 'whole', reason: disk.reason ?? 'it is the first of its chain' };
  const parent = problems.length === 0 ? await opened(newest.folder, newest.description) : undefined;
  if (!parent) return { kind: 'whole', reason: problems.join('; ') };
  const reason = reuses
    ? 'the backup that its map is relative to is not in the store'
    : (disk.reason ?? 'there is no bitmap of it');
  return { kind: 'comparison', parent, reason };
}

/** How many images a stored disk is made of, as far as its backups tell. */
async function imagesOf(guestFolder: string, backup: string, disk: string): Promise<number> {
  let images = 0;
  for (let next: string | null | undefined = backup; next && images < longestChain; images++)
    next = (await readDescription(guestFolder, next))?.disks?.[disk]?.parent;
  return images;
}
