import { isAbort } from '../errors.js';
import type { Logger } from '../log.js';
import type { Name } from '../name.js';
import type { BackupStore } from '../stores/store.js';
import type { Changes } from './changes.js';
import { GuestBackups } from './guest-backups.js';
import type { NodeTable } from './node-table.js';
import { storePath } from './root-folder.js';
import { StoreGuests } from './store-guests.js';

/** Lists the folders of stores again that have changed, and tells what came and went. */
export class StoreWatch {
  readonly #table: NodeTable;
  readonly #changes: Changes;
  readonly #log: Logger;
  readonly #stopWatching: ReadonlyArray<() => void>;
  readonly #closing = new AbortController();
  readonly #relisting = new Map<Name, { again: boolean }>();

  constructor(stores: readonly BackupStore[], table: NodeTable, changes: Changes, log: Logger) {
    this.#table = table;
    this.#changes = changes;
    this.#log = log;
    this.#stopWatching = stores.map((store) =>
      store.watch((guest) => this.#changed(storePath(store, guest))),
    );
  }

  close(): void {
    this.#closing.abort();
    for (const stop of this.#stopWatching) stop();
  }

  #changed(path: Name): void {
    const node = this.#table.at(path);
    if (!(node instanceof StoreGuests || node instanceof GuestBackups)) return;
    const relisting = this.#relisting.get(path);
    if (relisting) relisting.again = true;
    else void this.#relist(node);
  }

  /** Lists a folder that has changed, and tells what came and went; once more if it changed meanwhile. */
  async #relist(node: StoreGuests | GuestBackups): Promise<void> {
    const relisting = { again: true };
    this.#relisting.set(node.path, relisting);
    try {
      while (relisting.again && !this.#closing.signal.aborted) {
        relisting.again = false;
        const names = await node.changes(this.#closing.signal);
        for (const name of names) this.#changes.entry(node.path, name);
        if (names.length > 0) this.#changes.node(node.path);
      }
    } catch (error) {
      if (!isAbort(error)) this.#log.debug({ error }, 'a folder that changed was not listed again');
    } finally {
      this.#relisting.delete(node.path);
    }
  }
}
