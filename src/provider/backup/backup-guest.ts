import { copyFile, mkdir, open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { StoreFolder } from '../../disks/store-folder.js';
import { syncFolder } from '../../durable-file.js';
import { hasCode, messageOf } from '../../errors.js';
import {
  type BackupDescription,
  backupDescriptionText,
  backupJson,
} from '../../stores/directory/backup-json.js';
import { type ContainerWish, storeContainer } from '../container/store-container.js';
import { storeDisks } from '../disks/store-disks.js';
import type { Bandwidth } from '../job/bandwidth.js';
import type { HookFacts, Hooks } from '../job/hooks.js';
import { KeptNarration, type Narration } from '../job/narration.js';
import type { PartProgress } from '../job/part-progress.js';
import { lockGuest } from '../lock/guest-lock.js';
import { guestType } from '../mounted/mounted-guest.js';
import { isGone, MountedSnapshot } from '../mounted/mounted-snapshot.js';
import { guestFiles } from '../stored/guest-files.js';
import { freeFolderName } from '../stored/stored-backups.js';
import { sumFile } from '../sums/sum-file.js';
import { clearLeft } from '../unfinished/clear-left.js';
import { UnfinishedBackup } from '../unfinished/unfinished-backup.js';
import type { BackupWork } from './backup-work.js';

/** A backup of one guest, as it is wanted. */
export interface GuestBackup {
  readonly guest: string;
  /** Where stillfs is mounted. */
  readonly mount: string;
  readonly store: StoreFolder;
  readonly storeName: string;
  /** Null: a full backup, which touches no chain. */
  readonly chain: string | null;
  /** The names of the disks that are wanted; undefined: all. */
  readonly disks?: readonly string[];
  /** How it is stored if it is a container. */
  readonly container: ContainerWish;
  /** How long to wait for the guest's lock, and for another snapshot of it to end. */
  readonly waitSeconds: number;
  readonly bandwidth: Bandwidth;
  readonly hooks: Hooks;
  /** Who makes it, with its version. */
  readonly tool: string;
  readonly log: Narration;
  readonly progress: (progress: PartProgress) => void;
}

/** A backup that is stored. */
export interface StoredBackup {
  /** The name of its folder. */
  readonly folder: string;
  readonly path: string;
  readonly description: BackupDescription;
}

/**
 * Backs one guest up. When it is back the backup is stored for good, and the chain goes on from it. After a failure or an abort
 * the store is as it was, the snapshot is gone, and nothing that changed is forgotten. EBUSY: the guest is in use, here or there.
 */
export async function backupGuest(wish: GuestBackup, signal: AbortSignal): Promise<StoredBackup> {
  const { guest, mount, store, storeName, chain, hooks } = wish;
  const guestFolder = join(store.path, guest);
  await makeGuestFolder(store, guest);
  const purpose = `backup of ${guest}`;
  const lock = await lockGuest(
    guestFolder,
    { how: 'exclusive', purpose, waitSeconds: wish.waitSeconds },
    signal,
  );
  const facts: HookFacts = {
    STILLFS_GUEST: guest,
    STILLFS_MOUNT: mount,
    STILLFS_STORE: storeName,
    STILLFS_STORE_PATH: store.path,
    ...(chain !== null && { STILLFS_CHAIN: chain }),
  };
  try {
    await clearLeft(guestFolder, wish.log);
    await hooks.mustRun('backup-start', facts, signal);
    const stored = await makeBackup(wish, guestFolder, signal);
    await hooks.run(
      'backup-end',
      { ...facts, STILLFS_BACKUP: stored.folder, STILLFS_BACKUP_PATH: stored.path },
      wish.log,
    );
    return stored;
  } catch (error) {
    await hooks.run('backup-abort', { ...facts, STILLFS_ERROR: messageOf(error) }, wish.log);
    throw error;
  } finally {
    await lock.release();
  }
}

async function makeGuestFolder(store: StoreFolder, guest: string): Promise<void> {
  try {
    await mkdir(join(store.path, guest), { mode: 0o700 });
    await syncFolder(store.path);
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
  }
}

async function makeBackup(
  wish: GuestBackup,
  guestFolder: string,
  signal: AbortSignal,
): Promise<StoredBackup> {
  const { guest, mount, waitSeconds } = wish;
  // A container has no chains: each of its backups is whole.
  const chain = (await guestType(mount, guest)) === 'lxc' ? null : wish.chain;
  const log = new KeptNarration(wish.log);
  // Told by its time, for people, and by what is random of it, for the trace.
  const nameOf = (random: string): string =>
    `${chain === null ? '' : `${chain}@`}${basicTime(new Date())}-${random}`;
  const { unfinished, snapshot: name } = await UnfinishedBackup.begin(guestFolder, { mount, guest, nameOf });
  let snapshot: MountedSnapshot | undefined;
  let stored: StoredBackup;
  try {
    snapshot = await MountedSnapshot.take(mount, guest, name, waitSeconds, signal);
    log.info({ guest, snapshot: name }, `took the snapshot ${name} of guest ${guest}`);
    for (const { name: what, path, reason } of snapshot.facts.omitted)
      log.warn({ guest }, `${what ?? path} is not in the snapshot: ${reason}`);
    stored = await store(wish, unfinished, snapshot, guestFolder, log, signal);
  } catch (error) {
    await giveUp(unfinished, snapshot, wish.log);
    throw error;
  }
  await succeed(unfinished, snapshot, stored, wish.log);
  return stored;
}

/** Writes the backup and puts it in its place. */
async function store(
  wish: GuestBackup,
  { folder, sockets }: UnfinishedBackup,
  snapshot: MountedSnapshot,
  guestFolder: string,
  log: KeptNarration,
  signal: AbortSignal,
): Promise<StoredBackup> {
  const { guest, chain, disks, bandwidth, progress, tool } = wish;
  const work: BackupWork = {
    snapshot,
    store: wish.store,
    guest,
    chain,
    disks,
    folder,
    sockets,
    bandwidth,
    log,
    progress,
  };
  const { facts } = snapshot;
  const content =
    facts.type === 'lxc'
      ? await storeContainer(wish.container, work, signal)
      : await storeDisks(work, signal);
  for (const file of guestFiles)
    if (await copyIfThere(snapshot.path(file), join(folder, file))) await sumFile(join(folder, file), signal);
  const parents = Object.values(content.disks ?? {}).map((disk) => disk.parent ?? null);
  const description: BackupDescription = {
    version: 1,
    tool,
    guest,
    type: facts.type,
    time: facts.time.replace(/\.\d+Z$/, 'Z'),
    chain: facts.chain,
    snapshot: facts.id,
    parent: parents.find((parent) => parent !== null) ?? null,
    ...content,
  };
  await writeThrough(join(folder, backupJson), backupDescriptionText(description));
  signal.throwIfAborted();
  const name = await freeFolderName(guestFolder, new Date(facts.time));
  const path = join(guestFolder, name);
  log.info({ guest, backup: name }, `the backup of guest ${guest} is whole and becomes ${path}`);
  await writeThrough(join(folder, 'backup.log'), log.text);
  await syncFolder(folder);
  await rename(folder, path);
  await syncFolder(guestFolder);
  return { folder: name, path, description };
}

/** The backup is stored. Whatever fails from here on costs the next one time or space, and nothing else. */
async function succeed(
  unfinished: UnfinishedBackup,
  snapshot: MountedSnapshot,
  { folder }: StoredBackup,
  log: Narration,
): Promise<void> {
  try {
    await snapshot.succeed();
  } catch (error) {
    log.warn(
      {},
      `${folder} is stored, but its snapshot could not be told (${messageOf(error)}): the next backup holds these changes again`,
    );
  }
  if (await endSnapshot(snapshot, log)) await unfinished.forget();
}

/** Undoes what was begun. */
async function giveUp(
  unfinished: UnfinishedBackup,
  snapshot: MountedSnapshot | undefined,
  log: Narration,
): Promise<void> {
  try {
    const ended = !snapshot || (await endSnapshot(snapshot, log));
    await unfinished.remove();
    if (ended) await unfinished.forget();
  } catch (error) {
    log.warn(
      {},
      `something is left in ${unfinished.guestFolder}, which the next backup clears away: ${messageOf(error)}`,
    );
  }
}

/** Ends a snapshot; says whether it has. Where not, its trace stays for the next holder of the lock. */
async function endSnapshot(snapshot: MountedSnapshot, log: Narration): Promise<boolean> {
  try {
    await snapshot.end();
    log.info({}, `ended the snapshot ${snapshot.name}`);
    return true;
  } catch (error) {
    if (isGone(error)) return true;
    log.warn({}, `the snapshot ${snapshot.name} did not end, which is tried again: ${messageOf(error)}`);
    return false;
  }
}

/** Copies a file onto the disk; says whether there is one. */
async function copyIfThere(from: string, to: string): Promise<boolean> {
  try {
    await copyFile(from, to);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
  const file = await open(to, 'r+');
  try {
    await file.chmod(0o600);
    await file.sync();
  } finally {
    await file.close();
  }
  return true;
}

/** Writes a new file and brings it onto the disk. */
async function writeThrough(path: string, text: string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

function basicTime(time: Date): string {
  return time.toISOString().replace(/[-:]|\.\d+/g, '');
}
