import { isEntryName, type Name } from '../name.js';
import type { BackupStore } from '../stores/store.js';
import { folderAttributes, type LayoutContext, shortly } from './context.js';
import { GuestBackups } from './guest-backups.js';
import type { Child, FolderNode, NodeAttributes, Row } from './node.js';
import { rowsInOrder } from './row-order.js';

/** `backups/<store>/`: the guests of a store. */
export class StoreGuests implements FolderNode {
  readonly type = 'directory';
  readonly #context: LayoutContext;
  #listed: { readonly guests: readonly Name[]; readonly rows: readonly Row[] } | undefined;

  constructor(
    context: LayoutContext,
    readonly path: Name,
    readonly parent: FolderNode,
    readonly store: BackupStore,
  ) {
    this.#context = context;
  }

  async attributes(signal: AbortSignal): Promise<NodeAttributes> {
    const modified = await this.store.modified(undefined, signal);
    return folderAttributes(this.#context, { modified, freshSeconds: shortly });
  }

  async child(name: Name): Promise<Child> {
    return { node: this.guest(name), freshSeconds: shortly };
  }

  /** The folder of a guest, whether or not the store has that guest. */
  guest(name: Name): GuestBackups {
    return new GuestBackups(this.#context, `${this.path}/${name}` as Name, this, this.store, name);
  }

  async rows(signal: AbortSignal): Promise<readonly Row[]> {
    const guests = await this.store.guests(signal);
    if (this.#listed?.guests !== guests) {
      const rows = guests.filter(isEntryName).map((name) => ({
        name,
        type: 'directory' as const,
        path: `${this.path}/${name}` as Name,
      }));
      this.#listed = { guests, rows: rowsInOrder(rows) };
    }
    return this.#listed.rows;
  }

  /** The guests that came or went since they were listed last. */
  async changes(signal: AbortSignal): Promise<Name[]> {
    const before = this.#listed?.guests;
    await this.rows(signal);
    const after = this.#listed?.guests ?? [];
    if (before === undefined || before === after) return [];
    const [earlier, later] = [new Set(before), new Set(after)];
    return [...before.filter((guest) => !later.has(guest)), ...after.filter((guest) => !earlier.has(guest))];
  }
}
