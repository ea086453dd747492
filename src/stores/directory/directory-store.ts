import { LRUCache } from 'lru-cache';
import { ArchiveHost } from '../../archives/hosted/archive-host.js';
import { StoreFolder } from '../../disks/store-folder.js';
import { codeOf, hasCode, isAbort, messageOf, StillError } from '../../errors.js';
import type { IdMap } from '../../id-map.js';
import type { Logger } from '../../log.js';
import { isEntryName, type Name, nameToText } from '../../name.js';
import type { Time } from '../../time.js';
import type { Backup, BackupMarks, BackupReference, BackupStore } from '../store.js';
import { backupReference, byTime } from './backup-folder-name.js';
import { readMarks } from './backup-marks.js';
import { openDirectoryBackup } from './directory-backup.js';
import { FolderWatches } from './folder-watches.js';
import { ListedFolder } from './listed-folder.js';
import { inFolder, type StoredEntry, statBeneath } from './stored-entry.js';

/** How many entries a store's root, or a guest's folder, may have. */
const mostEntries = 1_000_000;
/** How many backups' references are held for all guests together; the guests that were listed last are kept. */
const mostReferences = 500_000;

export interface DirectoryStoreOptions {
  readonly name: string;
  readonly path: string;
  /** How many file calls may be under way at once. */
  readonly depth?: number;
  /** Changes the ids of container folders. */
  readonly idMap?: IdMap;
  /** Opens archives; stays the caller's. One without a cache by default. */
  readonly archives?: ArchiveHost;
  /** For how long a listing is used without looking whether the folder has changed; 1000 by default. */
  readonly freshMilliseconds?: number;
  /** Whether to have the system tell of changes; true by default. */
  readonly watches?: boolean;
}

/** Opens a store that is a directory: `<guest>/<backup>/…`. Reads no guest's folder. */
export async function openDirectoryStore(
  options: DirectoryStoreOptions,
  log: Logger,
  signal?: AbortSignal,
): Promise<BackupStore> {
  let folder: StoreFolder | undefined;
  try {
    folder = await StoreFolder.open(options.path, options.depth, signal);
    const store = new DirectoryStore(options, folder, log.child({ store: options.name }));
    await store.begin(signal);
    return store;
  } catch (error) {
    folder?.close();
    if (isAbort(error)) throw error;
    const sentence = `the store ${options.name} at ${options.path} can't be opened: ${messageOf(error)}`;
    throw new StillError(codeOf(error), sentence, { cause: error });
  }
}

const root = '' as Name;

class DirectoryStore implements BackupStore {
  readonly name: string;
  readonly #options: DirectoryStoreOptions;
  readonly #folder: StoreFolder;
  readonly #log: Logger;
  readonly #archives: ArchiveHost;
  readonly #watches: FolderWatches;
  readonly #listeners = new Set<(guest?: Name) => void>();
  readonly #guests: ListedFolder<Name>;
  readonly #backups: LRUCache<Name, ListedFolder<BackupReference>>;

  constructor(options: DirectoryStoreOptions, folder: StoreFolder, log: Logger) {
    this.name = options.name;
    this.#options = options;
    this.#folder = folder;
    this.#log = log;
    this.#archives = options.archives ?? new ArchiveHost();
    this.#watches = new FolderWatches(log);
    this.#backups = new LRUCache({ maxSize: mostReferences, sizeCalculation: (listed) => listed.length + 1 });
    this.#guests = this.#listed(root, guestsOf, (a, b) => a === b);
  }

  /** Sees that the root can be listed, and begins to watch it. */
  async begin(signal = new AbortController().signal): Promise<void> {
    await this.#guests.items(signal);
  }

  async guests(signal: AbortSignal): Promise<readonly Name[]> {
    return this.#guests.items(signal);
  }

  async backups(guest: Name, signal: AbortSignal): Promise<readonly BackupReference[]> {
    const path = this.#guestFolder(guest);
    let listed = this.#backups.get(guest);
    if (!listed) {
      listed = this.#listed(path, backupsOf, (a, b) => a.folder === b.folder);
      this.#backups.set(guest, listed);
    }
    const length = listed.length;
    try {
      const items = await listed.items(signal);
      if (items.length !== length && this.#backups.get(guest) === listed) {
        this.#backups.delete(guest); // its size is reckoned only when it is set anew
        this.#backups.set(guest, listed);
      }
      return items;
    } catch (error) {
      const reason = this.#absent(error, guest);
      if (hasCode(reason, 'ENOENT') && this.#backups.get(guest) === listed) this.#backups.delete(guest);
      throw reason;
    }
  }

  async modified(guest: Name | undefined, signal: AbortSignal): Promise<Time> {
    const path = guest === undefined ? root : this.#guestFolder(guest);
    try {
      const stat = await statBeneath(this.#folder, path, signal);
      if (stat.type !== 'directory') throw new StillError('ENOTDIR', `${nameToText(path)} is not a folder`);
      return stat.modified;
    } catch (error) {
      throw guest === undefined ? error : this.#absent(error, guest);
    }
  }

  async marks(guest: Name, backup: BackupReference, signal: AbortSignal): Promise<BackupMarks> {
    return readMarks(this.#folder, inFolder(this.#guestFolder(guest), backup.folder), signal);
  }

  async open(guest: Name, backup: BackupReference, signal: AbortSignal): Promise<Backup> {
    const path = inFolder(this.#guestFolder(guest), backup.folder);
    const { idMap } = this.#options;
    const options = { log: this.#log, archives: this.#archives, ...(idMap && { idMap }) };
    return openDirectoryBackup(this.#folder, path, backup, options, signal);
  }

  watch(listener: (guest?: Name) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#watches.close();
    this.#listeners.clear();
    this.#backups.clear();
    this.#folder.close();
    if (!this.#options.archives) await this.#archives.close();
  }

  #listed<Item>(
    path: Name,
    select: (entries: readonly StoredEntry[]) => Item[],
    same: (a: Item, b: Item) => boolean,
  ): ListedFolder<Item> {
    return new ListedFolder({
      folder: this.#folder,
      path,
      limit: mostEntries,
      freshMilliseconds: this.#options.freshMilliseconds ?? 1000,
      select,
      same,
      opened: (descriptor) => this.#watch(path, descriptor),
    });
  }

  async #watch(path: Name, descriptor: number): Promise<void> {
    if (this.#options.watches === false) return;
    await this.#watches.watch(path, descriptor, (name) => {
      if (path === root) this.#rootChanged(name);
      else this.#guestChanged(path);
    });
  }

  #rootChanged(name: Name | undefined): void {
    this.#guests.notice();
    if (name !== undefined && this.#backups.has(name)) {
      // The name may stand for another folder now.
      this.#backups.delete(name);
      this.#watches.drop(name);
      this.#tell(name);
    }
    this.#tell(undefined);
  }

  #guestChanged(guest: Name): void {
    this.#backups.peek(guest)?.notice();
    this.#tell(guest);
  }

  #tell(guest: Name | undefined): void {
    for (const listener of this.#listeners) listener(guest);
  }

  #guestFolder(guest: Name): Name {
    if (!isEntryName(guest) || !isGuestName(guest)) throw this.#noGuest(guest);
    return guest;
  }

  #absent(error: unknown, guest: Name): unknown {
    // ELOOP: a symlink stands there. Links are not followed, for they lead out of the store.
    const absent = (['ENOENT', 'ENOTDIR', 'ELOOP', 'EXDEV'] as const).some((code) => hasCode(error, code));
    return absent ? this.#noGuest(guest, error) : error;
  }

  #noGuest(guest: Name, cause?: unknown): StillError {
    return new StillError('ENOENT', `${this.#folder.path} has no guest ${nameToText(guest)}`, { cause });
  }
}

/** `lost+found` is made by mkfs, what begins with `.` by stores and tools for themselves. */
export function isGuestName(name: Name): boolean {
  return !name.startsWith('.') && name !== 'lost+found';
}

function guestsOf(entries: readonly StoredEntry[]): Name[] {
  return entries
    .filter(({ name, type }) => type === 'directory' && isGuestName(name))
    .map(({ name }) => name);
}

function backupsOf(entries: readonly StoredEntry[]): BackupReference[] {
  return entries
    .flatMap(({ name, type }) => (type === 'directory' ? (backupReference(name) ?? []) : []))
    .sort(byTime);
}
