import { chown, open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Disk } from '../../disks/disk.js';
import type { NbdWriter } from '../../disks/nbd/nbd-writer.js';
import { openQcow2Image } from '../../disks/qcow2/qcow2-image.js';
import type { StoreFolder } from '../../disks/store-folder.js';
import { syncFolder } from '../../durable-file.js';
import { StillError } from '../../errors.js';
import { nameFromText } from '../../name.js';
import {
  type BackupDescription,
  backupDescriptionText,
  backupJson,
  type DescribedDisk,
} from '../../stores/directory/backup-json.js';
import { ImageServer } from '../disks/image-server.js';
import type { PartProgress } from '../job/part-progress.js';
import { imageBasis } from '../stored/based-on.js';
import { readDescription } from '../stored/stored-backups.js';
import { SumsFile } from '../sums/sums-file.js';
import { UnfinishedMerge } from '../unfinished/unfinished-merge.js';
import { compareWithSums } from '../verify/compare-with-sums.js';
import { byteRange, Damage } from '../verify/damage.js';
import { mergeDisk } from './merge-disk.js';
import type { Merge, MergedDisk } from './prune-plan.js';

export interface BackupMerge {
  readonly store: StoreFolder;
  readonly guest: string;
  readonly merge: Merge;
  readonly progress: (progress: PartProgress) => void;
}

/** A disk that is being merged: what it reads now, and what is expected of it. */
interface OpenedDisk {
  readonly planned: MergedDisk;
  readonly described: DescribedDisk;
  /** The disk as it is, with all images that become one taken for its own. */
  readonly now: Disk;
  readonly basisBytes: number;
}

/**
 * Makes a backup independent of backups that are going to be removed. Its new images are written beside, compared with its checksums, and
 * brought onto the disk before they take the place of the old ones; `backup.json` follows. Says how many bytes more it
 * takes up. Whatever fails or ends it, the backup reads as before. EIO: the new images would not hold what it holds.
 */
export async function mergeBackup(what: BackupMerge, signal: AbortSignal): Promise<number> {
  const { store, guest, merge } = what;
  const guestFolder = join(store.path, guest);
  const description = await readDescription(guestFolder, merge.backup);
  if (!description) throw new StillError('EIO', `${merge.backup} has no ${backupJson}`);
  const unfinished = await UnfinishedMerge.begin(guestFolder);
  const opened: OpenedDisk[] = [];
  try {
    for (const planned of merge.disks) opened.push(await openDisk(what, description, planned, signal));
    const stored = await writeImages(what, opened, unfinished, signal);
    for (const disk of opened) await mustBeEqual(what, disk, unfinished.folder, signal);
    let grown = 0;
    for (const [index, { planned }] of opened.entries()) {
      const old = await stat(join(guestFolder, merge.backup, planned.file));
      grown += (stored[index] ?? 0) - old.blocks * 512;
      await makeAlike(join(unfinished.folder, planned.file), old);
    }
    const merged = await mergedDescription(guestFolder, description, merge, stored);
    await writeDescription(join(unfinished.folder, backupJson), merged, join(guestFolder, merge.backup));
    await syncFolder(unfinished.folder);
    signal.throwIfAborted();
    await unfinished.commit(merge.backup, [...merge.disks.map(({ file }) => file), backupJson]);
    return grown;
  } finally {
    for (const { now } of opened) await now.close();
    await unfinished.end();
  }
}

async function openDisk(
  { store, guest, merge }: BackupMerge,
  description: BackupDescription,
  planned: MergedDisk,
  signal: AbortSignal,
): Promise<OpenedDisk> {
  const described = description.disks?.[planned.name];
  if (!described) throw new StillError('EIO', `${backupJson} of ${merge.backup} has no disk ${planned.name}`);
  const { basis } = planned;
  const basisBytes = basis ? (await imageBasis(store, basis, signal)).sizeBytes : 0;
  const path = nameFromText(`${guest}/${merge.backup}/${planned.file}`);
  const now = await openQcow2Image(store, path, signal, planned.images);
  return { planned, described, now, basisBytes };
}

/** Writes the new images. Gives what each takes up, in bytes. */
async function writeImages(
  { progress }: BackupMerge,
  opened: readonly OpenedDisk[],
  { folder, sockets }: UnfinishedMerge,
  signal: AbortSignal,
): Promise<number[]> {
  const images = opened.map(({ planned: { file, basis }, now }) => ({
    path: join(folder, file),
    sizeBytes: now.size,
    ...(basis && { backingFile: `../${basis.backup}/${basis.file}` }),
  }));
  const server = await ImageServer.start(images, sockets, signal);
  try {
    for (const [index, { planned, now, basisBytes }] of opened.entries()) {
      const image = server.writers[index];
      if (!image) throw new RangeError(`there is no image ${index}`);
      const part = planned.file;
      let reached = 0;
      const told = async (writing: Promise<void>): Promise<void> => {
        try {
          await writing;
        } catch (error) {
          signal.throwIfAborted();
          throw await server.failure(index, error);
        }
      };
      const merge = {
        disk: now,
        image: {
          ...image,
          write: (...args: Parameters<NbdWriter['write']>) => told(image.write(...args)),
          writeZeroes: (...args: Parameters<NbdWriter['writeZeroes']>) => told(image.writeZeroes(...args)),
        },
        alone: planned.basis === undefined,
        basisBytes,
        progress: (offset: number) => {
          reached = Math.max(reached, offset);
          progress({ part, done: reached, total: now.size });
        },
      };
      await mergeDisk(merge, signal);
    }
    return await server.finish(signal);
  } catch (error) {
    await server.close();
    throw error;
  }
}

/**
 * Compares a new image with the checksums of the backup. What it takes from its basis is the same that the old one takes from there; of
 * that the checksums are compared, not the bytes.
 */
async function mustBeEqual(
  { store, guest, merge, progress }: BackupMerge,
  { planned: { file, basis }, described }: OpenedDisk,
  folder: string,
  signal: AbortSignal,
): Promise<void> {
  const guestFolder = join(store.path, guest);
  const inStore = folder.slice(guestFolder.length + 1);
  const found = (await imageBasis(store, { guest, backup: inStore, file }, signal)).image;
  if (found?.backup !== basis?.backup || found?.file !== basis?.file)
    throw new StillError('EIO', `${folder}/${file} is based on something else than it should be`);
  const sums = await SumsFile.open(join(guestFolder, merge.backup, described.sums ?? ''), signal);
  let disk: Disk | undefined;
  let basisSums: SumsFile | undefined;
  try {
    disk = await openQcow2Image(store, nameFromText(`${guest}/${inStore}/${file}`), signal);
    const { size } = disk;
    if (size !== sums.sizeBytes)
      throw new StillError(
        'EIO',
        `${merge.backup}/${file} has ${size} bytes, and checksums of ${sums.sizeBytes}`,
      );
    basisSums = await sumsOfBasis(guestFolder, basis, signal);
    let done = 0;
    const part = `${file} (comparing)`;
    const damage = await compareWithSums(
      {
        disk,
        sums,
        backup: merge.backup,
        ...(basisSums && { parent: { sums: basisSums, damage: new Damage() } }),
        progress: (bytes) => {
          done += bytes;
          progress({ part, done, total: size });
        },
      },
      signal,
    );
    const [first] = damage.runs;
    if (!first) return;
    const { offset, length } = byteRange(first, size);
    throw new StillError(
      'EIO',
      `${merge.backup}/${file} does not hold what its checksums say (${length} bytes at ${offset}: ${first.why}), so it is not merged; ` +
        'stillfs verify tells what is damaged',
    );
  } finally {
    await basisSums?.close();
    await disk?.close();
    await sums.close();
  }
}

async function sumsOfBasis(
  guestFolder: string,
  basis: MergedDisk['basis'],
  signal: AbortSignal,
): Promise<SumsFile | undefined> {
  if (!basis) return undefined;
  const disks = Object.values((await readDescription(guestFolder, basis.backup))?.disks ?? {});
  const sums = disks.find(({ file }) => file === basis.file)?.sums;
  return sums === undefined ? undefined : SumsFile.open(join(guestFolder, basis.backup, sums), signal);
}

/** Gives a new file the owner, mode and time of another, and brings it onto the disk. */
async function makeAlike(path: string, old: Awaited<ReturnType<typeof stat>>): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const { uid, gid } = await file.stat();
    if (uid !== old.uid || gid !== old.gid) await chown(path, Number(old.uid), Number(old.gid));
    await file.chmod(Number(old.mode) & 0o7777);
    await file.utimes(Number(old.atimeMs) / 1000, Number(old.mtimeMs) / 1000);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function writeDescription(path: string, description: BackupDescription, backup: string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(backupDescriptionText(description));
    await file.sync();
  } finally {
    await file.close();
  }
  await makeAlike(path, await stat(join(backup, backupJson)));
}

/** What the backup says of itself when it is merged. */
async function mergedDescription(
  guestFolder: string,
  description: BackupDescription,
  { disks, takesIn }: Merge,
  stored: readonly number[],
): Promise<BackupDescription> {
  const described = { ...description.disks };
  for (const [index, { name, basis }] of disks.entries()) {
    const before = described[name];
    if (!before) continue;
    const below = basis && (await readDescription(guestFolder, basis.backup));
    const its = Object.values(below?.disks ?? {}).find(({ file }) => file === basis?.file);
    // A state that a map was relative to is told as long as all that lie between were, too.
    const base = await baseOf(guestFolder, name, before, takesIn);
    described[name] = {
      ...before,
      parent: basis?.backup ?? null,
      base: basis && base !== null && base === its?.id ? base : null,
      mode: basis ? (base !== null && base === its?.id ? 'reuse' : 'compared') : 'new',
      storedBytes: stored[index] ?? 0,
    };
  }
  const parents = Object.values(described).map(({ parent }) => parent ?? null);
  return { ...description, parent: parents.find((parent) => parent !== null) ?? null, disks: described };
}

/** The state that the oldest of the images which become one is relative to; null where one of them was compared. */
async function baseOf(
  guestFolder: string,
  name: string,
  disk: DescribedDisk,
  takesIn: readonly string[],
): Promise<string | null> {
  let at: DescribedDisk | undefined = disk;
  while (at?.base && at.parent && takesIn.includes(at.parent))
    at = (await readDescription(guestFolder, at.parent))?.disks?.[name];
  return at?.base ?? null;
}
