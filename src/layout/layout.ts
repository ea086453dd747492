import { hasCode, StillError } from '../errors.js';
import type { GuestSource } from '../guests/guest.js';
import type { Logger } from '../log.js';
import { type Name, nameToBytes, nameToText } from '../name.js';
import type { BackupStore } from '../stores/store.js';
import { timeFromDate } from '../time.js';
import type { Attributes, Inode } from '../tree/attributes.js';
import type { Access, Capacity, Change, Entry, Found, Graft, Opened, Tree } from '../tree/tree.js';
import { Changes } from './changes.js';
import { type LayoutContext, shortly } from './context.js';
import { Lending } from './lending.js';
import type { FolderNode, Node, NodeAttributes } from './node.js';
import { NodeTable, rootInode } from './node-table.js';
import { OpenFiles } from './open-files.js';
import { OpenedBackups } from './opened-backups.js';
import { OpenedDisks } from './opened-disks.js';
import { OpenedInspections } from './opened-inspections.js';
import { rootFolder } from './root-folder.js';
import { rowsAfter } from './row-order.js';
import type { Still } from './still.js';
import { StoreWatch } from './store-watch.js';

export interface LayoutOptions {
  readonly stores: readonly BackupStore[];
  /** The guests whose snapshots are taken and shown. */
  readonly guests?: readonly GuestSource[];
  readonly log: Logger;
  /** Lets others than the owner into `guests/` and `backups/`; files keep their modes. */
  readonly openToOthers?: boolean;
}

/** So many entries are given at once. */
const entriesAtOnce = 512;
const mostIdleTrees = 16;
/** An index of a million files takes up to 200 MB. */
const mostIdleTreeBytes = 256 * 1024 * 1024;
const mostIdleFiles = 64;
const idleMilliseconds = 60_000;
/** When a mount has been there for so long, the first look into a disk finds a worker waiting. */
const settledMilliseconds = 500;

/** The tree that makes up the mount. Whoever opened the stores and guests closes them: guests before the tree, stores after it. */
export function openLayout(options: LayoutOptions): Tree {
  return new Layout(options);
}

class Layout implements Tree {
  readonly root = rootInode;
  readonly #context: LayoutContext;
  readonly #table: NodeTable;
  readonly #files = new OpenFiles();
  readonly #changes = new Changes(() => this.#table);
  readonly #storeWatch: StoreWatch;
  readonly #stopWatching: ReadonlyArray<() => void>;
  readonly #settled: NodeJS.Timeout;

  constructor({ stores, guests = [], log, openToOthers = false }: LayoutOptions) {
    const closeFailed = (error: unknown): void => log.warn({ error }, 'something was not closed properly');
    const changes = this.#changes;
    const disks = new OpenedDisks(log, (still) => changes.problems(still));
    this.#context = {
      backups: new OpenedBackups((backup) => changes.below(backup)),
      disks,
      inspections: new OpenedInspections(disks, log, (still) => changes.problems(still)),
      files: new Lending({ mostIdle: mostIdleFiles, idleMilliseconds, closeFailed }),
      trees: new Lending<Tree>({
        mostIdle: mostIdleTrees,
        mostIdleBytes: mostIdleTreeBytes,
        bytesOf: (tree) => tree.memoryBytes ?? 0,
        idleMilliseconds,
        closeFailed,
      }),
      owner: { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 },
      began: timeFromDate(new Date()),
      log,
      changes,
      ended: (still) => this.#ended(still),
    };
    const permissions = openToOthers ? 0o755 : 0o700;
    const { root, guestFolders } = rootFolder(this.#context, { stores, guests, permissions });
    this.#table = new NodeTable(root);
    this.#storeWatch = new StoreWatch(stores, this.#table, changes, log);
    this.#stopWatching = guestFolders.map((folder) => folder.watch());
    this.#settled = setTimeout(() => this.#context.inspections.prepare(), settledMilliseconds).unref();
  }

  async lookup(inode: Inode, name: Name, signal: AbortSignal): Promise<Found> {
    const folder = this.#folder(inode);
    if (name === '..') return this.#found(folder.parent ?? folder, Infinity, signal);
    const { node, freshSeconds } = await folder.child(name, signal);
    if (!node) return { freshSeconds };
    return this.#found(this.#table.at(node.path) ?? node, freshSeconds, signal);
  }

  async attributes(inode: Inode, signal: AbortSignal): Promise<Attributes> {
    const node = this.#node(inode);
    try {
      return { ...(await node.attributes(signal)), inode };
    } catch (error) {
      // A file whose backup was removed reads on while it is open, and whoever has it open may ask for its size at any time.
      const opened = hasGone(error) ? this.#files.attributes(node.path) : undefined;
      if (opened) return { ...opened, inode };
      throw error;
    }
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
    if (access !== 'read' && !node.writable) throw new StillError('EROFS', `${path} is never changed`);
    const file = await node.open(signal);
    let attributes: NodeAttributes;
    try {
      attributes = await node.attributes(signal);
      signal.throwIfAborted();
    } catch (error) {
      file.release();
      throw error;
    }
    const { cache, passthrough, size } = file;
    return {
      handle: this.#files.add(node.path, file, attributes),
      cache,
      ...(cache === 'direct' && { size }),
      ...(passthrough !== undefined && { passthrough }),
    };
  }

  read(handle: number, offset: number, target: Uint8Array, signal: AbortSignal): Promise<number> {
    return this.#files.get(handle).read(offset, target, signal);
  }

  async seek(handle: number, offset: number, wanted: 'data' | 'hole', signal: AbortSignal): Promise<number> {
    const file = this.#files.get(handle);
    if (offset >= file.size)
      throw new StillError('ENXIO', `${offset} is beyond the end of a file of ${file.size}`);
    if (file.seek) return file.seek(offset, wanted, signal);
    return wanted === 'data' ? offset : file.size;
  }

  async release(handle: number): Promise<void> {
    this.#files.release(handle);
  }

  async write(handle: number, offset: number, bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    const file = this.#files.get(handle);
    if (!file.write) throw new StillError('EROFS', 'a disk can be given back, not written to');
    await file.write(offset, bytes, signal);
  }

  async discard(handle: number, offset: number, length: number, signal: AbortSignal): Promise<void> {
    const file = this.#files.get(handle);
    if (!file.discard) throw new StillError('EOPNOTSUPP', 'nothing of this file can be given back');
    await file.discard(offset, length, signal);
  }

  async truncate(inode: Inode, size: number, signal: AbortSignal): Promise<void> {
    const node = this.#node(inode);
    if (node.type !== 'file' || !node.truncate)
      throw new StillError('EROFS', `the length of ${nameToText(node.path)} can't be changed`);
    await node.truncate(size, signal);
  }

  async mkdir(
    inode: Inode,
    name: Name,
    _permissions: number,
    signal: AbortSignal,
  ): Promise<Found & { attributes: Attributes }> {
    const folder = this.#folder(inode);
    if (!folder.make)
      throw new StillError('EROFS', `no folder can be made in ${nameToText(folder.path) || 'the root'}`);
    const made = await folder.make(name, signal);
    const attributes = await made.attributes(signal);
    return { attributes: { ...attributes, inode: this.#table.remember(made) }, freshSeconds: shortly };
  }

  async rmdir(inode: Inode, name: Name, signal: AbortSignal): Promise<void> {
    const folder = this.#folder(inode);
    if (!folder.remove)
      throw new StillError('EROFS', `nothing can be removed from ${nameToText(folder.path) || 'the root'}`);
    await folder.remove(name, signal);
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
    return this.#changes.watch(listener);
  }

  async close(): Promise<void> {
    clearTimeout(this.#settled);
    this.#storeWatch.close();
    for (const stop of this.#stopWatching) stop();
    this.#changes.close();
    this.#files.releaseAll();
    const { disks, inspections, files, trees } = this.#context;
    await Promise.all([inspections.close(), disks.close(), files.close(), trees.close()]);
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

  /** Lets go of a snapshot that has ended, also of what somebody has open. */
  #ended(still: Still): void {
    still.end();
    this.#files.end(still.path);
    this.#context.inspections.drop(still);
    this.#context.disks.drop(still);
    this.#context.trees.drop((key) => key.startsWith(`${still.key}\0`));
    this.#changes.below(still.path);
  }
}

function hasGone(error: unknown): boolean {
  return hasCode(error, 'ENOENT') || hasCode(error, 'ESTALE');
}
