import { isEntryName, type Name } from '../name.js';
import type { BackupReference, BackupStore } from '../stores/store.js';
import type { BackupNode } from './backup-node.js';
import { folderAttributes, type LayoutContext, shortly } from './context.js';
import { ChangesFolder, DisksFolder } from './disk-folders.js';
import type { Child, FolderNode, Node, NodeAttributes, Row } from './node.js';
import type { OpenedBackup } from './opened-backups.js';
import { ProblemFile, problemName } from './problem-file.js';
import { RootfsFolder } from './rootfs-folder.js';
import { rowsInOrder } from './row-order.js';
import { StoredFileNode } from './stored-file.js';

const disksName = 'disks' as Name;
const changesName = 'changes' as Name;
const rootfsName = 'rootfs' as Name;

/** `backups/<store>/<guest>/<time>/`: what one backup holds. The backup is opened when something in it is asked for. */
export class BackupFolder implements BackupNode {
  readonly type = 'directory';
  readonly #context: LayoutContext;
  readonly #store: BackupStore;
  readonly #guest: Name;

  constructor(
    context: LayoutContext,
    readonly path: Name,
    readonly parent: FolderNode,
    store: BackupStore,
    guest: Name,
    readonly reference: BackupReference,
  ) {
    this.#context = context;
    this.#store = store;
    this.#guest = guest;
  }

  async attributes(): Promise<NodeAttributes> {
    // Nothing that would need the backup to be opened, for a listing of a guest asks every one.
    return folderAttributes(this.#context, { modified: this.reference.time, freshSeconds: Infinity });
  }

  async child(name: Name, signal: AbortSignal): Promise<Child> {
    const opened = await this.opened(signal);
    const node = this.#node(name, opened);
    const stays = node !== undefined && name !== problemName;
    return { node, freshSeconds: stays ? Infinity : shortly };
  }

  async rows(signal: AbortSignal): Promise<readonly Row[]> {
    const opened = await this.opened(signal);
    const names = [...opened.files.keys(), disksName, changesName, rootfsName, problemName];
    const nodes = names.map((name) => ({ name, node: this.#node(name, opened) }));
    return rowsInOrder(
      nodes.flatMap(({ name, node }) => (node ? [{ name, type: node.type, path: node.path }] : [])),
    );
  }

  /** The backup, looked at lately. */
  opened(signal: AbortSignal): Promise<OpenedBackup> {
    return this.#context.backups.get(this.path, this.#store, this.#guest, this.reference, signal);
  }

  #node(name: Name, opened: OpenedBackup): Node | undefined {
    const path = `${this.path}/${name}` as Name;
    if (!isEntryName(name)) return undefined;
    if (name === disksName)
      return opened.disks.size > 0 ? new DisksFolder(this.#context, path, this) : undefined;
    if (name === changesName)
      return opened.disks.size > 0 ? new ChangesFolder(this.#context, path, this) : undefined;
    if (name === rootfsName) return opened.backup.rootfs && new RootfsFolder(this.#context, path, this);
    if (name === problemName)
      return opened.hasProblems ? new ProblemFile(this.#context, path, this) : undefined;
    return opened.files.has(name) ? new StoredFileNode(this.#context, path, this, name) : undefined;
  }
}
