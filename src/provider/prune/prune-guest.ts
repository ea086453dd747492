import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { StoreFolder } from '../../disks/store-folder.js';
import { messageOf } from '../../errors.js';
import { nameFromText } from '../../name.js';
import { backupReference } from '../../stores/directory/backup-folder-name.js';
import { readMarks } from '../../stores/directory/backup-marks.js';
import type { Narration } from '../job/narration.js';
import type { PartProgress } from '../job/part-progress.js';
import { lockGuest } from '../lock/guest-lock.js';
import { linkBackups } from '../stored/backup-links.js';
import { backupsOf } from '../stored/named-backup.js';
import { clearLeft } from '../unfinished/clear-left.js';
import { removeBackup } from '../unfinished/removed-backup.js';
import { type KeepRules, type Mark, markBackups } from './keep-rules.js';
import { mergeBackup } from './merge-backup.js';
import { type Merge, planPrune } from './prune-plan.js';

/** Who is told how a prune goes. */
export interface PruneListener {
  progress(guest: string, progress: PartProgress): void;
  readonly log: Narration;
}

/** What has become of a backup, or would have. */
export interface PrunedBackup {
  readonly backup: string;
  readonly mark: Mark;
  /** It is gone; in a dry run: it would be. */
  readonly removed: boolean;
  /** The backups that it was merged into; in a dry run: would be. */
  readonly mergedInto: readonly string[];
  /** Why it is still there although its mark is `remove`. */
  readonly reason?: string;
}

export interface GuestPrune {
  readonly store: StoreFolder;
  readonly guest: string;
  readonly rules: KeepRules;
  /** Nothing is changed. */
  readonly dryRun: boolean;
  readonly waitSeconds: number;
  /** What other guests build on, as `GUEST/BACKUP`, and which backup does. */
  readonly builtOnElsewhere: ReadonlyMap<string, string>;
}

/** The pruning of one guest's backups. */
export class GuestPruning {
  readonly #outcomes = new Map<string, PrunedBackup>();
  #freedBytes = 0;

  constructor(
    private readonly wish: GuestPrune,
    private readonly listener: PruneListener,
  ) {}

  /** What has become of each backup, oldest first; of what was not come to yet, that it is there. */
  get outcomes(): readonly PrunedBackup[] {
    return [...this.#outcomes.values()];
  }

  /** How much less the backups take up, in bytes; in a dry run 0. */
  get freedBytes(): number {
    return this.#freedBytes;
  }

  /**
   * Prunes. At every moment each backup that is kept reads the same, and what is interrupted is settled by the next one. ENOENT: there is
   * no such guest. EBUSY: it is in use. What could not be removed is told by `outcomes`.
   */
  async run(signal: AbortSignal): Promise<void> {
    const { store, guest, dryRun, waitSeconds } = this.wish;
    const guestFolder = join(store.path, guest);
    await backupsOf(guestFolder);
    const how = dryRun ? 'shared' : 'exclusive';
    const lock = await lockGuest(guestFolder, { how, purpose: `prune of ${guest}`, waitSeconds }, signal);
    try {
      if (!dryRun) await clearLeft(guestFolder, this.listener.log);
      await this.#prune(guestFolder, signal);
    } finally {
      await lock.release();
    }
  }

  async #prune(guestFolder: string, signal: AbortSignal): Promise<void> {
    const { store, guest, dryRun, rules, builtOnElsewhere } = this.wish;
    const backups = await backupsOf(guestFolder);
    const marks = await this.#mark(backups, rules, signal);
    for (const backup of backups) this.#note(backup, { mark: marks.get(backup) ?? 'keep' });
    if (![...marks.values()].includes('remove')) return;
    for (const backup of backups) {
      const builder = builtOnElsewhere.get(`${guest}/${backup}`);
      if (builder === undefined || marks.get(backup) !== 'remove') continue;
      marks.set(backup, 'keep');
      this.#note(backup, { reason: `${builder}, of another guest, builds on it` });
    }
    const linked = await linkBackups(store, guest, backups, signal);
    const { merges, removals, needed } = planPrune(guest, linked, marks);
    for (const [backup, reason] of needed) this.#note(backup, { reason });
    const parents = new Map(linked.map((each) => [each.backup, each.parents]));
    // What nobody builds on frees its space first.
    await this.#removeFree(guestFolder, removals, parents, signal);
    for (const merge of merges) {
      signal.throwIfAborted();
      if (!dryRun && !(await this.#merge(merge, signal))) continue;
      const { backup, takesIn } = merge;
      for (const each of takesIn) this.#note(each, { mergedInto: [...this.#of(each).mergedInto, backup] });
      parents.set(
        backup,
        dryRun ? parentsAfter(merge, parents.get(backup)) : await this.#parentsOf(backup, signal),
      );
      await this.#removeFree(guestFolder, removals, parents, signal);
    }
    for (const backup of removals) {
      const { removed, reason } = this.#of(backup);
      if (!removed && reason === undefined)
        this.#note(backup, { reason: `${builderOf(backup, parents)}, which stays, builds on it` });
    }
  }

  async #mark(backups: readonly string[], rules: KeepRules, signal: AbortSignal): Promise<Map<string, Mark>> {
    const { store, guest } = this.wish;
    const ruled = [];
    for (const folder of backups) {
      const reference = backupReference(nameFromText(folder));
      if (!reference) continue;
      const { isProtected } = await readMarks(store, nameFromText(`${guest}/${folder}`), signal);
      ruled.push({ folder, seconds: reference.time.seconds, isProtected });
    }
    return markBackups(ruled, rules);
  }

  /** Says whether it is done. What can't be merged keeps what it builds on, and does not stop the others. */
  async #merge(merge: Merge, signal: AbortSignal): Promise<boolean> {
    const { store, guest } = this.wish;
    const { log, progress } = this.listener;
    const { backup, takesIn } = merge;
    try {
      const tell = (part: PartProgress): void => progress(guest, { ...part, part: `${backup} ${part.part}` });
      this.#freedBytes -= await mergeBackup({ store, guest, merge, progress: tell }, signal);
      log.info({ guest, backup, takesIn }, `merged ${takesIn.join(', ')} of guest ${guest} into ${backup}`);
      return true;
    } catch (error) {
      signal.throwIfAborted();
      const reason = `${backup} builds on it, and could not be made independent: ${messageOf(error)}`;
      for (const each of takesIn) this.#note(each, { reason });
      log.warn(
        { guest, backup, takesIn },
        `${takesIn.join(', ')} of guest ${guest} can't be removed: ${reason}`,
      );
      return false;
    }
  }

  /** What a backup builds on, as it lies in the store now. */
  async #parentsOf(backup: string, signal: AbortSignal): Promise<ReadonlySet<string>> {
    const [linked] = await linkBackups(this.wish.store, this.wish.guest, [backup], signal);
    return linked?.parents ?? new Set();
  }

  /** Removes, newest first, what no backup that is still there builds on. */
  async #removeFree(
    guestFolder: string,
    removals: readonly string[],
    parents: Map<string, ReadonlySet<string>>,
    signal: AbortSignal,
  ): Promise<void> {
    const { guest, dryRun } = this.wish;
    for (const backup of removals) {
      if (!parents.has(backup) || builderOf(backup, parents) !== undefined) continue;
      signal.throwIfAborted();
      parents.delete(backup);
      if (!dryRun) {
        const bytes = await bytesOf(join(guestFolder, backup));
        await removeBackup(guestFolder, backup);
        this.#freedBytes += bytes;
        this.listener.log.info({ guest, backup }, `removed ${backup} of guest ${guest}`);
      }
      this.#note(backup, { removed: true });
    }
  }

  #of(backup: string): PrunedBackup {
    return this.#outcomes.get(backup) ?? { backup, mark: 'keep', removed: false, mergedInto: [] };
  }

  #note(backup: string, more: Partial<PrunedBackup>): void {
    this.#outcomes.set(backup, { ...this.#of(backup), ...more });
  }
}

/** A backup that is there and builds directly on another one. */
function builderOf(backup: string, parents: ReadonlyMap<string, ReadonlySet<string>>): string | undefined {
  for (const [builder, its] of parents) if (its.has(backup)) return builder;
  return undefined;
}

/** What a backup would build on after a merge. */
function parentsAfter({ disks, takesIn }: Merge, before: ReadonlySet<string> | undefined): Set<string> {
  const after = new Set([...(before ?? [])].filter((parent) => !takesIn.includes(parent)));
  for (const { basis } of disks) if (basis) after.add(basis.backup);
  return after;
}

/** What a backup's files take up, in bytes. A container's folder is not counted: that would take as long as removing it. */
async function bytesOf(backup: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(backup, { withFileTypes: true }))
    if (entry.isFile()) bytes += (await lstat(join(backup, entry.name))).blocks * 512;
  return bytes;
}
