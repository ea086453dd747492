import type { Name } from '../name.js';
import type { BackupReference, BackupStore, StoredFile } from '../stores/store.js';
import type { Time } from '../time.js';
import { folderAttributes, type LayoutContext } from './context.js';
import type { FileNode, FolderNode, NodeAttributes } from './node.js';
import type { Still } from './still.js';
import { StillFolder } from './still-folder.js';
import { StoredFileNode } from './stored-file.js';

/** `backups/<store>/<guest>/<time>/`: what one backup holds. The backup is opened when something in it is asked for. */
export class BackupFolder extends StillFolder {
  readonly live = false;
  readonly time: Time;
  readonly #store: BackupStore;
  readonly #guest: Name;
  readonly #reference: BackupReference;

  constructor(
    context: LayoutContext,
    path: Name,
    parent: FolderNode,
    store: BackupStore,
    guest: Name,
    reference: BackupReference,
  ) {
    super(context, path, parent);
    this.time = reference.time;
    this.#store = store;
    this.#guest = guest;
    this.#reference = reference;
  }

  async attributes(): Promise<NodeAttributes> {
    // Nothing that would need the backup to be opened, for a listing of a guest asks every one.
    return folderAttributes(this.context, { modified: this.time, freshSeconds: Infinity });
  }

  still(signal: AbortSignal): Promise<Still<StoredFile>> {
    return this.context.backups.get(this.path, this.#store, this.#guest, this.#reference, signal);
  }

  protected fileNode(name: Name, path: Name): FileNode {
    return new StoredFileNode(this.context, path, this, name);
  }
}
