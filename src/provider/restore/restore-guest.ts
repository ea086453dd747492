import { mkdir, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { StoreFolder } from '../../disks/store-folder.js';
import { syncFolder } from '../../durable-file.js';
import { codeOf, hasCode, messageOf, StillError } from '../../errors.js';
import { nameFromText, nameToText } from '../../name.js';
import type { Bandwidth } from '../job/bandwidth.js';
import type { Narration } from '../job/narration.js';
import type { PartProgress } from '../job/part-progress.js';
import { lockGuest } from '../lock/guest-lock.js';
import { backupNamed } from '../stored/named-backup.js';
import { openStoreFolder } from '../stored/stored-guests.js';
import { openRootfs, type RestoredIds, type RootfsRestore } from './container/rootfs-restore.js';
import { Damage } from './damage.js';
import { restoreDisk } from './disks/disk-restore.js';
import { type DiskWish, type ImageFormat, type OpenedDisk, openGuestDisk } from './disks/guest-disk.js';
import { restoreGuestFile } from './guest-file.js';
import type { RestoredPart } from './restored-part.js';
import { contentOf, namesOf, type StoredContent } from './stored-content.js';

/** What is to be restored, and where to. */
export interface RestoreWish {
  /** The store's folder. */
  readonly store: string;
  readonly guest: string;
  /** A backup's time, or `latest`. */
  readonly time: string;
  /** A folder for all that has no target of its own: disks, a container's `rootfs/`, configuration files. */
  readonly folder?: string;
  /** The disks that are wanted, each with its target where it is not the folder; undefined: all. */
  readonly disks?: readonly { readonly name: string; readonly target?: string }[];
  /** Of disks in files; undefined: as the file's name ends, else raw. */
  readonly format?: ImageFormat;
  /** How a container's ids become those of the restored files. */
  readonly ids: RestoredIds;
  /** Whether files, and what is on devices, may be replaced. */
  readonly overwrite: boolean;
  /** Whether to go on where the backup is damaged. */
  readonly ignoreDamage: boolean;
  /** How long to wait for the guest's lock. */
  readonly waitSeconds: number;
  readonly bandwidth: Bandwidth;
  readonly log: Narration;
  readonly progress: (progress: PartProgress) => void;
}

/** What was restored. */
export interface Restored {
  /** The name of the backup's folder. */
  readonly backup: string;
  readonly parts: readonly { readonly part: string; readonly path: string; readonly verified: boolean }[];
  /** How many places of the backup were found to be damaged; more than 0 only where that is ignored. */
  readonly damage: number;
}

/** A part that is written, and lies beside its place. */
interface WrittenPart {
  readonly part: string;
  readonly verified: boolean;
  readonly restored: RestoredPart;
}

/**
 * Restores a backup, or some of it. All targets are looked at before anything is written, and nothing comes to its place before all is
 * written and on the disk. After a failure or an abort nothing is left but a block device whose first MiB is zeros.
 */
export async function restoreGuest(wish: RestoreWish, signal: AbortSignal): Promise<Restored> {
  const store = await openStoreFolder(wish.store, signal);
  try {
    const guestFolder = join(store.path, wish.guest);
    // Before the lock: that would make a file.
    await backupNamed(guestFolder, wish.time);
    const how = {
      how: 'shared',
      purpose: `restore of ${wish.guest}`,
      waitSeconds: wish.waitSeconds,
    } as const;
    const lock = await lockGuest(guestFolder, how, signal);
    try {
      return await restoreBackup(wish, store, await backupNamed(guestFolder, wish.time), signal);
    } finally {
      await lock.release();
    }
  } finally {
    store.close();
  }
}

async function restoreBackup(
  wish: RestoreWish,
  store: StoreFolder,
  backup: string,
  signal: AbortSignal,
): Promise<Restored> {
  const { guest, folder, log } = wish;
  const damage = new Damage(wish.ignoreDamage, log);
  const content = await contentOf(store, guest, backup, damage, signal);
  const wishes = disksWanted(wish, content, backup);
  const madeFolder = folder !== undefined && (await makeFolder(folder));
  const written: WrittenPart[] = [];
  const opened: OpenedDisk[] = [];
  const toFolder = wish.disks === undefined ? folder : undefined;
  let rootfs: RootfsRestore | undefined;
  try {
    for (const each of wishes) {
      const disk = await openGuestDisk(store, content, each, damage, signal);
      if (disk) opened.push(disk);
    }
    if (toFolder !== undefined) {
      const target = { target: join(toFolder, 'rootfs'), overwrite: wish.overwrite };
      rootfs = await openRootfs(store, content, target, wish);
      for (const name of content.files) {
        const file = { store, backup: content.path, name, folder: toFolder, overwrite: wish.overwrite };
        written.push({ part: name, ...(await restoreGuestFile(file, damage, signal)) });
      }
    }
    if (wishes.length === 0 && !rootfs)
      throw new StillError(
        'ENOENT',
        `${backup} of guest ${guest} holds neither a disk nor a container's files`,
      );
    log.info({ guest, backup }, `restores ${backup} of guest ${guest}`);
    for (const disk of opened) {
      const before = damage.count;
      await writeDisk(wish, disk, signal);
      const verified = disk.hasSums && damage.count === before;
      written.push({ part: disk.name, verified, restored: disk.target });
    }
    if (rootfs) {
      const before = damage.count;
      const hasSums = await rootfs.write(damage, signal);
      const verified = hasSums && damage.count === before;
      log.info({ guest }, `the container's files are written: ${checked(hasSums)}`);
      written.push({ part: 'rootfs', verified, restored: rootfs.place });
    }
    signal.throwIfAborted();
    for (const { restored } of written) await restored.commit();
  } catch (error) {
    for (const { restored } of written) await discard(restored, log);
    for (const { target } of opened) await discard(target, log);
    if (rootfs) await discard(rootfs.place, log);
    if (madeFolder) await rmdir(folder).catch((why: unknown) => log.warn({}, messageOf(why)));
    throw error;
  } finally {
    for (const disk of opened) await disk.close();
  }
  const parts = written.map(({ part, verified, restored }) => ({ part, path: restored.path, verified }));
  return { backup, parts, damage: damage.count };
}

function disksWanted(
  { disks, folder, format, overwrite, guest }: RestoreWish,
  content: StoredContent,
  backup: string,
): DiskWish[] {
  const chosen = disks ?? content.disks.map(({ name }) => ({ name: nameToText(name), target: undefined }));
  const wanted = chosen.map(({ name, target }) => {
    const disk = content.disks.find((each) => each.name === nameFromText(name));
    if (!disk)
      throw new StillError(
        'ENODEV',
        `${backup} of guest ${guest} has no disk ${name}; its disks: ${namesOf(content.disks)}`,
      );
    if (target !== undefined) return { disk, target, format, overwrite };
    if (folder === undefined) throw new StillError('EINVAL', `the disk ${name} has no target`);
    const chosenFormat = format ?? 'raw';
    return { disk, target: join(folder, `${name}.${chosenFormat}`), format: chosenFormat, overwrite };
  });
  const targets = wanted.map(({ target }) => target);
  const twice = targets.find((target, index) => targets.indexOf(target) !== index);
  if (twice !== undefined) throw new StillError('EINVAL', `two disks can't both become ${twice}`);
  return wanted;
}

/** Makes the folder unless it is there; says whether it was made. */
async function makeFolder(path: string): Promise<boolean> {
  try {
    await mkdir(path, { mode: 0o700 });
    await syncFolder(dirname(path));
    return true;
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return false;
    throw new StillError(codeOf(error), `the folder ${path} can't be made: ${messageOf(error)}`);
  }
}

async function writeDisk(
  { bandwidth, progress, log }: RestoreWish,
  { name, source, hasSums, target }: OpenedDisk,
  signal: AbortSignal,
): Promise<void> {
  const total = source.sizeBytes;
  let done = 0;
  progress({ part: name, done, total });
  const restore = {
    source,
    target,
    admit: (bytes: number, admitted: AbortSignal) => bandwidth.admit(bytes, admitted),
    progress: (bytes: number) => {
      done += bytes;
      progress({ part: name, done, total });
    },
  };
  await restoreDisk(restore, signal);
  log.info({ disk: name, bytes: total }, `${name} is written: ${checked(hasSums)}`);
}

function checked(hasSums: boolean): string {
  return hasSums ? 'its checksums were compared' : 'there are no checksums to compare it with';
}

async function discard(part: RestoredPart, log: Narration): Promise<void> {
  try {
    await part.discard();
  } catch (error) {
    log.warn({ path: part.path }, `something may be left beside ${part.path}: ${messageOf(error)}`);
  }
}
