import { hasCode, isAbort, StillError } from '../errors.js';
import type { Logger } from '../log.js';
import { type Name, nameFromText, nameToBytes, nameToText } from '../name.js';
import type { BackupStore } from '../stores/store.js';
import { timeFromDate } from '../time.js';
import type { Attributes, Inode } from '../tree/attributes.js';
import type { Access, Capacity, Change, Entry, Found, Graft, Opened, Tree } from '../tree/tree.js';
import type { LayoutContext } from './context.js';
import { FixedFolder } from './fixed-folder.js';
import { GuestBackups } from './guest-backups.js';
import { Lending } from './lending.js';
import type { FolderNode, Node, OpenFile } from './node.js';
import { NodeTable, rootInode } from './node-table.js';
import { OpenedBackups } from './opened-backups.js';
import { OpenedDisks } from './opened-disks.js';
import { problemName } from './problem-file.js';
import { rowsAfter } from './row-order.js';
import { StoreGuests } from './store-guests.js';

export interface LayoutOptions {
  readonly stores: readonly BackupStore[];
  readonly log: Logger;
  /** Lets others than the owner into `backups/`; files keep their modes. */
  readonly openToOthers?: boolean;
}

/** So many entries are given at once. */
const entriesAtOnce = 512;
const mostIdleTrees = 16;
const mostIdleFiles = 64;
const idleMilliseconds = 60_000;

/** The tree that makes up the mount. Whoever opened the stores closes them, after the tree. */
export function openLayout(options: LayoutOptions): Tree {
  return new Layout(options);
}

class Layout implements Tree {
  readonly root = rootInode;
  readonly #log: Logger;
  readonly #context: LayoutContext;
  readonly #table: NodeTable;
  readonly #handles = new Map<number, OpenFile>();
  readonly #listeners = new Set<(change: Change) => void>();
  readonly #stopWatching: Array<() => void> = [];
  readonly #closing = new AbortController();
  readonly #relisting = new Map<Name, { again: boolean }>();
  #lastHandle = 0;

  constructor({ stores, log, openToOthers = false }: LayoutOptions) {
    this.#log = log;
    const closeFailed = (error: unknown): void => log.warn({ error }, 'something was not closed properly');
    const problemsChanged = (backup: Name): void => this.#problemsChanged(backup);
    this.#context = {
      backups: new OpenedBackups((backup) => this.#changedBelow(backup)),
      disks: new OpenedDisks(log, problemsChanged),
      files: new Lending({ mostIdle: mostIdleFiles, idleMilliseconds, closeFailed }),
      trees: new Lending({ mostIdle: mostIdleTrees, idleMilliseconds, closeFailed }),
      owner: { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 },
      began: timeFromDate(new Date()),
      log,
      problemsChanged,
    };
    const gate = openToOthers ? 0o755 : 0o700;
    this.#table = new NodeTable(rootFolder(this.#context, stores, gate));
    for (const store of stores) {
      this.#stopWatching.push(store.watch((guest) => this.#storeChanged(store, guest)));
    }
  }

  async lookup(inode: Inode, name: Name, signal: AbortSignal): Promise<Found> {
    const folder = this.#folder(inode);
    if (name === '..') return this.#found(folder.parent ?? folder, Infinity, signal);
    const { node, freshSeconds } = await folder.child(name, signal);
    if (!node) return { freshSeconds };
    return this.#found(this.#table.at(node.path) ?? node, freshSeconds, signal);
  }

  async attributes(inode: Inode, signal: AbortSignal): Promise<Attributes> {
    return { ...(await this.#node(inode).attributes(signal)), inode };
  }

  async list(inode: Inode, after: bigint, signal: AbortSignal): Promise<readonly Entry[]> {
    const rows = await this.#folder(inode).rows(signal);
    return rowsAfter(rows, after, entriesAtOnce).map(({ name, type, path, cookie }) => ({
      name,
      type,
      cookie,
      inode: this.#table.inode(path),
    }));
  }

  async readlink(inode: Inode): Promise<Uint8Array> {
    const node = this.#node(inode);
    if (node.type !== 'symlink') throw new StillError('EINVAL', `${nameToText(node.path)} is no symlink`);
    return nameToBytes(node.target);
  }

  async xattr(inode: Inode, name: Name): Promise<Uint8Array> {
    const { path } = this.#node(inode);
    throw new StillError('ENODATA', `${nameToText(path)} has no attribute ${nameToText(name)}`);
  }

  async xattrs(inode: Inode): Promise<readonly Name[]> {
    this.#node(inode);
    return [];
  }

  async open(inode: Inode, access: Access, signal: AbortSignal): Promise<Opened> {
    const node = this.#node(inode);
    const path = nameToText(node.path);
    if (node.type === 'directory') throw new StillError('EISDIR', `${path} is a folder`);
    if (node.type === 'symlink') throw new StillError('ELOOP', `${path} is a symlink`);
    if (access !== 'read')
      throw new StillError('EROFS', `${path} is part of a backup, which is never changed`);
    const file = await node.open(signal);
    if (signal.aborted) {
      file.release();
      throw signal.reason;
    }
    const handle = ++this.#lastHandle;
    this.#handles.set(handle, file);
    const { cache, passthrough } = file;
    return { handle, cache, ...(passthrough !== undefined && { passthrough }) };
  }

  read(handle: number, offset: number, target: Uint8Array, signal: AbortSignal): Promise<number> {
    return this.#handle(handle).read(offset, target, signal);
  }

  async seek(handle: number, offset: number, wanted: 'data' | 'hole', signal: AbortSignal): Promise<number> {
    const file = this.#handle(handle);
    if (offset >= file.size)
      throw new StillError('ENXIO', `${offset} is beyond the end of a file of ${file.size}`);
    if (file.seek) return file.seek(offset, wanted, signal);
    return wanted === 'data' ? offset : file.size;
  }

  async release(handle: number): Promise<void> {
    const file = this.#handle(handle);
    this.#handles.delete(handle);
    file.release();
  }

  async graft(inode: Inode, signal: AbortSignal): Promise<Graft> {
    const folder = this.#folder(inode);
    if (folder.graft) return folder.graft(signal);
    throw new StillError('EINVAL', `no tree stands upon ${nameToText(folder.path)}`);
  }

  forget(inode: Inode): void {
    this.#table.forget(inode);
  }

  /** All zero, as for /proc: what is shown takes up no room here, and none can be had. */
  async capacity(): Promise<Capacity> {
    return { total: 0, free: 0, files: 0 };
  }

  watch(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    for (const stop of this.#stopWatching) stop();
    this.#listeners.clear();
    for (const file of this.#handles.values()) file.release();
    this.#handles.clear();
    const { disks, files, trees } = this.#context;
    await Promise.all([disks.close(), files.close(), trees.close()]);
  }

  async #found(node: Node, freshSeconds: number, signal: AbortSignal): Promise<Found> {
    try {
      const attributes = await node.attributes(signal);
      return { attributes: { ...attributes, inode: this.#table.remember(node) }, freshSeconds };
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return { freshSeconds };
      throw error;
    }
  }

  #node(inode: Inode): Node {
    const node = this.#table.node(inode);
    if (node) return node;
    throw new StillError('ESTALE', `inode ${inode} is not known any more; look its name up again`);
  }

  #folder(inode: Inode): FolderNode {
    const node = this.#node(inode);
    if (node.type === 'directory') return node;
    throw new StillError('ENOTDIR', `${nameToText(node.path)} is no folder`);
  }

  #handle(handle: number): OpenFile {
    const file = this.#handles.get(handle);
    if (file) return file;
    throw new StillError('EBADF', `handle ${handle} is not open`);
  }

  #tell(change: Change): void {
    for (const listener of this.#listeners) listener(change);
  }

  /** Tells that everything known of a backup may be other than before. */
  #changedBelow(path: Name): void {
    for (const inode of this.#table.below(path)) this.#tell({ kind: 'inode', inode });
  }

  #problemsChanged(backup: Name): void {
    if (!this.#table.at(backup)) return;
    this.#tell({ kind: 'entry', folder: this.#table.inode(backup), name: problemName });
    const problem = `${backup}/${problemName}` as Name;
    if (this.#table.at(problem)) this.#tell({ kind: 'inode', inode: this.#table.inode(problem) });
  }

  #storeChanged(store: BackupStore, guest: Name | undefined): void {
    const path =
      `${backupsPath}/${nameFromText(store.name)}${guest === undefined ? '' : `/${guest}`}` as Name;
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
        const folder = this.#table.inode(node.path);
        for (const name of names) this.#tell({ kind: 'entry', folder, name });
        if (names.length > 0) this.#tell({ kind: 'inode', inode: folder });
      }
    } catch (error) {
      if (!isAbort(error)) this.#log.debug({ error }, 'a folder that changed was not listed again');
    } finally {
      this.#relisting.delete(node.path);
    }
  }
}

const backupsPath = 'backups' as Name;

/** The root: `backups/`; `guests/` will stand beside it. */
function rootFolder(context: LayoutContext, stores: readonly BackupStore[], gate: number): FolderNode {
  return new FixedFolder(context, '' as Name, undefined, 0o755, (root) => {
    const backups = new FixedFolder(context, backupsPath, root, gate, (folder) => {
      const named = stores.map((store) => {
        const name = nameFromText(store.name);
        return [name, new StoreGuests(context, `${backupsPath}/${name}` as Name, folder, store)] as const;
      });
      return new Map(named);
    });
    return new Map([[backupsPath, backups]]);
  });
}
