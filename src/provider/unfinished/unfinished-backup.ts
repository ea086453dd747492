import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rm, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { readIfThere, removeDurably, syncFolder, writeDurably } from '../../durable-file.js';
import { messageOf } from '../../errors.js';
import type { Narration } from '../job/narration.js';
import { isGone, readFacts, snapshotsFolder } from '../mounted/mounted-snapshot.js';
import { newestFirst } from '../stored/stored-backups.js';
import { removeTree } from './remove-tree.js';

const folderPattern = /^\.backup-[0-9a-f]{12}$/;
const tracePattern = /^(\.backup-[0-9a-f]{12})\.trace(?:\.new)?$/;
/** As many of the newest backups are looked at for the one that a killed provider had just finished. */
const newestLookedAt = 16;

/** What a backup leaves behind when its provider is killed, beside its own folder. */
const traceShape = z.object({
  version: z.literal(1),
  pid: z.int(),
  /** The snapshot that it takes: its mount, guest and name. */
  mount: z.string(),
  guest: z.string(),
  snapshot: z.string(),
  /** Its folder for sockets, outside the store. */
  sockets: z.string(),
});
type Trace = z.output<typeof traceShape>;

/**
 * A backup that is being written: a folder beside the finished ones, and beside that a trace, written before anything else is
 * made, which tells the next holder of the guest's lock what to undo. Both have names that no reader lists.
 */
export class UnfinishedBackup {
  private constructor(
    readonly guestFolder: string,
    /** The folder that is written to. */
    readonly folder: string,
    /** A folder for sockets, of its owner alone. */
    readonly sockets: string,
    private readonly trace: string,
  ) {}

  /** Begins one: from here on it can be undone, whatever happens. `nameOf` names its snapshot, given what is random of it. */
  static async begin(
    guestFolder: string,
    { mount, guest, nameOf }: { mount: string; guest: string; nameOf: (random: string) => string },
  ): Promise<{ unfinished: UnfinishedBackup; snapshot: string }> {
    const random = randomBytes(6).toString('hex');
    const folder = join(guestFolder, `.backup-${random}`);
    const sockets = join(tmpdir(), `stillfs-backup-${random}`);
    const trace = `${folder}.trace`;
    const snapshot = nameOf(random);
    const traced: Trace = { version: 1, pid: process.pid, mount, guest, snapshot, sockets };
    await writeDurably(trace, `${JSON.stringify(traced)}\n`);
    const unfinished = new UnfinishedBackup(guestFolder, folder, sockets, trace);
    try {
      await mkdir(folder, { mode: 0o700 });
      await mkdir(sockets, { mode: 0o700 });
    } catch (error) {
      await unfinished.remove();
      await unfinished.forget();
      throw error;
    }
    return { unfinished, snapshot };
  }

  /** Removes all that was written. */
  async remove(): Promise<void> {
    await removeTree(this.folder);
    await rm(this.sockets, { recursive: true, force: true });
  }

  /** Forgets the trace: nothing is left that the next holder of the lock would have to undo. */
  async forget(): Promise<void> {
    await rm(this.sockets, { recursive: true, force: true });
    await removeDurably(this.trace);
  }
}

/**
 * Clears away what providers that were killed have left of a guest: folders of backups that were never finished, and their
 * snapshots in the mount. Only for who has the guest's lock exclusively. What can't be cleared is logged, and tried next time.
 */
export async function clearUnfinished(guestFolder: string, log: Narration): Promise<void> {
  for (const name of await readdir(guestFolder)) {
    const [, folder] = tracePattern.exec(name) ?? [];
    if (folder === undefined) continue;
    const text = name.endsWith('.new') ? undefined : await readIfThere(join(guestFolder, name));
    const trace = traceShape.safeParse(jsonOf(text));
    if (trace.success) {
      if (!(await endLeftSnapshot(guestFolder, trace.data, log))) continue;
      await removeSockets(trace.data.sockets);
    }
    await removeLeft(guestFolder, folder, log);
    await removeDurably(join(guestFolder, name));
  }
  for (const name of await readdir(guestFolder)) {
    if (!folderPattern.test(name)) continue;
    // A folder without a trace is removed; with one, its snapshot could not be ended yet, and it is no longer of use either.
    await removeLeft(guestFolder, name, log);
  }
}

/** Only what a trace of ours can name. */
async function removeSockets(sockets: string): Promise<void> {
  if (/\/stillfs-backup-[0-9a-f]{12}$/.test(sockets)) await rm(sockets, { recursive: true, force: true });
}

async function removeLeft(guestFolder: string, name: string, log: Narration): Promise<void> {
  const path = join(guestFolder, name);
  await removeTree(path);
  await syncFolder(guestFolder);
  log.info({ folder: path }, 'removed what an interrupted backup had left');
}

/** Ends the snapshot of a provider that was killed; says whether it is gone. */
async function endLeftSnapshot(
  guestFolder: string,
  { mount, guest, snapshot }: Trace,
  log: Narration,
): Promise<boolean> {
  const folder = join(snapshotsFolder(mount, guest), snapshot);
  try {
    const { id } = await readFacts(folder);
    // Killed after the backup had come to its place: it is whole, and only the snapshot does not know.
    const isStored = await stored(guestFolder, id);
    if (isStored) {
      await syncFolder(guestFolder);
      await writeFile(join(folder, 'outcome'), 'success\n').catch((error: unknown) =>
        log.warn({ guest, snapshot }, `its success could not be recorded: ${messageOf(error)}`),
      );
    }
    await rmdir(folder);
    const how = isStored ? 'its backup is stored' : 'as a failure: nothing that changed is forgotten';
    log.info({ guest, snapshot }, `ended the snapshot of an interrupted backup, ${how}`);
    return true;
  } catch (error) {
    if (isGone(error)) return true;
    log.warn({ guest, snapshot }, `a snapshot was left, and did not end: ${messageOf(error)}`);
    return false;
  }
}

async function stored(guestFolder: string, snapshot: string): Promise<boolean> {
  let looked = 0;
  for await (const { description } of newestFirst(guestFolder)) {
    if (description.snapshot === snapshot) return true;
    if (++looked === newestLookedAt) break;
  }
  return false;
}

function jsonOf(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
