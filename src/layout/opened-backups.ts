import { LRUCache } from 'lru-cache';
import { isEntryName, type Name, nameToText } from '../name.js';
import { SharedWait } from '../shared-wait.js';
import type { Backup, BackupReference, BackupStore, StoredDisk, StoredFile } from '../stores/store.js';

/** So many backups are held open: their parts' names, no file. */
const mostBackups = 256;
/** For so long a backup is taken to be as it was when it was looked at last. */
const freshMilliseconds = 1000;

/** Names in a backup's folder that the layout has for itself. */
const ownNames = new Set(['disks', 'changes', 'rootfs', 'files', 'PROBLEM.txt']);
const longestSuffix = '.dirty.json'.length;

/** An opened backup, as it is shown. */
export class OpenedBackup {
  readonly backup: Backup;
  /** Stands for the backup as it was when it was opened; for what is kept of its parts. */
  readonly key: string;
  readonly files: ReadonlyMap<Name, StoredFile>;
  readonly disks: ReadonlyMap<Name, StoredDisk>;
  readonly #knownProblems: readonly string[];
  readonly #foundProblems = new Map<string, string>();

  constructor(path: Name, backup: Backup) {
    this.backup = backup;
    this.key = `${path}\0${backup.version}`;
    const problems = [...backup.problems];
    this.files = new Map(
      backup.files.flatMap((file): Array<[Name, StoredFile]> => {
        if (!ownNames.has(file.name) && isEntryName(file.name)) return [[file.name, file]];
        problems.push(`${nameToText(file.name)} is not shown: the mount has that name for something else`);
        return [];
      }),
    );
    this.disks = new Map(
      backup.disks.flatMap((disk): Array<[Name, StoredDisk]> => {
        if (isEntryName(disk.name) && disk.name.length <= 255 - longestSuffix) return [[disk.name, disk]];
        problems.push(
          `the disk ${nameToText(disk.name)} is not shown: its name leaves no room for .dirty.json`,
        );
        return [];
      }),
    );
    this.#knownProblems = problems;
  }

  get hasProblems(): boolean {
    return this.#knownProblems.length + this.#foundProblems.size > 0;
  }

  /** What PROBLEM.txt says. */
  get problemText(): string {
    return [...this.#knownProblems, ...this.#foundProblems.values()]
      .map((sentence) => `${sentence}\n`)
      .join('');
  }

  /** Notes what was found wrong with a part, or that it is well (undefined). True where that is news. */
  note(part: string, sentence: string | undefined): boolean {
    if (this.#foundProblems.get(part) === sentence) return false;
    if (sentence === undefined) this.#foundProblems.delete(part);
    else this.#foundProblems.set(part, sentence);
    return true;
  }
}

interface Place {
  readonly opened: OpenedBackup;
  freshUntil: number;
}

/** The backups that were looked into lately. */
export class OpenedBackups {
  readonly #places = new LRUCache<Name, Place>({ max: mostBackups });
  readonly #opening = new Map<Name, SharedWait<OpenedBackup>>();
  readonly #changed: (path: Name) => void;

  /** `changed` is called with the path of a backup whose parts are found to be others than before. */
  constructor(changed: (path: Name) => void) {
    this.#changed = changed;
  }

  /** Opens a backup, or looks whether one that is open still is as it was. */
  async get(
    path: Name,
    store: BackupStore,
    guest: Name,
    reference: BackupReference,
    signal: AbortSignal,
  ): Promise<OpenedBackup> {
    const place = this.#places.get(path);
    if (place && performance.now() < place.freshUntil) return place.opened;
    let opening = this.#opening.get(path);
    if (!opening || opening.abandoned) {
      opening = new SharedWait(async (shared) => {
        try {
          return this.#taken(path, await store.open(guest, reference, shared));
        } catch (error) {
          if (!shared.aborted) this.#places.delete(path);
          throw error;
        } finally {
          if (!shared.aborted) this.#opening.delete(path);
        }
      });
      this.#opening.set(path, opening);
    }
    return opening.wait(signal);
  }

  #taken(path: Name, backup: Backup): OpenedBackup {
    const before = this.#places.peek(path);
    const same = before?.opened.backup.version === backup.version;
    const opened = before && same ? before.opened : new OpenedBackup(path, backup);
    this.#places.set(path, { opened, freshUntil: performance.now() + freshMilliseconds });
    if (before && !same) this.#changed(path);
    return opened;
  }
}
