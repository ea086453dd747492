import { LRUCache } from 'lru-cache';
import { atMost } from '../entry-limit.js';
import { hasCode, messageOf, StillError } from '../errors.js';
import { isShownName, longestShownName, type Name, nameToText } from '../name.js';
import { rest, spend } from '../pace.js';
import type { Problems } from '../problems.js';
import type { Attributes, Inode } from '../tree/attributes.js';
import type { Access, Capacity, Entry, Found, Opened, Tree } from '../tree/tree.js';
import type { FileNode, FileSystem, Folder, ListedEntry } from './file-system.js';
import { OpenContents } from './open-contents.js';

const lasting = Number.POSITIVE_INFINITY;
const parentName = '..' as Name;
const mostNodes = 16384;
/** About what reading an inode that is in memory costs, in milliseconds. */
const perNode = 0.01;
const mostFolders = 65536;

/** The tree of a file system: what all kinds of them have in common is here. */
export class FileSystemTree implements Tree {
  readonly root: Inode;
  readonly #fileSystem: FileSystem;
  readonly #problems: Problems;
  readonly #nodes = new LRUCache<Inode, FileNode>(atMost(mostNodes));
  /** The folders that each folder was found in: it can stand in one only. */
  readonly #parents = new LRUCache<Inode, Inode>(atMost(mostFolders));
  readonly #open = new OpenContents();
  #closing: Promise<void> | undefined;

  /** `problems` takes what is found to be damaged. */
  constructor(fileSystem: FileSystem, problems: Problems) {
    this.root = fileSystem.root;
    this.#fileSystem = fileSystem;
    this.#problems = problems;
  }

  async lookup(folder: Inode, name: Name, signal: AbortSignal): Promise<Found> {
    const above = await this.#folder(folder, signal);
    if (name === parentName) {
      const parent = await this.#parentOf(folder, above, signal);
      return { attributes: await this.attributes(parent, signal), freshSeconds: lasting };
    }
    if (!isShownName(name)) {
      const code = name.length > longestShownName ? 'ENAMETOOLONG' : 'EINVAL';
      throw new StillError(code, `${nameToText(name)} can't be the name of a file in a folder`);
    }
    return this.#noting(async () => {
      const entry = await above.find(name, signal);
      if (!entry) return { freshSeconds: lasting };
      return { attributes: await this.#enter(folder, name, entry.inode, signal), freshSeconds: lasting };
    });
  }

  async attributes(inode: Inode, signal: AbortSignal): Promise<Attributes> {
    return (await this.#node(inode, signal)).attributes;
  }

  async list(folder: Inode, after: bigint, signal: AbortSignal): Promise<readonly Entry[]> {
    const above = await this.#folder(folder, signal);
    for (let from = after; ; ) {
      const rows = await this.#noting(() => above.entries(from, signal));
      const last = rows.at(-1);
      if (!last) return [];
      if (last.cookie <= from) throw new StillError('EIO', `the listing of folder ${folder} goes in circles`);
      const entries: Entry[] = [];
      for (const row of rows) {
        if (this.#mayBeShown(row.name))
          entries.push(this.#entryNow(folder, row) ?? (await this.#entry(folder, row, signal)));
      }
      spend(entries.length * perNode);
      await rest();
      // None means the end, so those that hold nothing but what is not shown are passed over.
      if (entries.length > 0) return entries;
      from = last.cookie;
    }
  }

  async readlink(inode: Inode, signal: AbortSignal): Promise<Uint8Array> {
    const link = await this.#node(inode, signal);
    if (link.type === 'symlink') return this.#noting(() => link.target(signal));
    throw new StillError('EINVAL', `inode ${inode} is a ${link.type}, no symlink`);
  }

  async xattr(inode: Inode, name: Name, signal: AbortSignal): Promise<Uint8Array> {
    const value = (await this.#xattrsOf(inode, signal))?.get(name);
    if (value) return value;
    throw new StillError('ENODATA', `inode ${inode} has no attribute ${nameToText(name)}`);
  }

  async xattrs(inode: Inode, signal: AbortSignal): Promise<readonly Name[]> {
    const all = await this.#xattrsOf(inode, signal);
    return all ? [...all.keys()] : [];
  }

  async open(inode: Inode, access: Access, signal: AbortSignal): Promise<Opened> {
    if (access !== 'read')
      throw new StillError('EROFS', `inode ${inode} can't be written: a still is never modified`);
    const file = await this.#node(inode, signal);
    if (file.type !== 'file') {
      const code = file.type === 'directory' ? 'EISDIR' : file.type === 'symlink' ? 'ELOOP' : 'ENXIO';
      throw new StillError(code, `inode ${inode} is a ${file.type}; only regular files are opened`);
    }
    const content = await this.#noting(() => file.content(signal));
    return { handle: this.#open.add(inode, content, file.attributes.size), cache: 'keep' };
  }

  read(handle: number, offset: number, target: Uint8Array, signal: AbortSignal): Promise<number> {
    return this.#noting(() => this.#open.read(handle, offset, target, signal));
  }

  seek(handle: number, offset: number, wanted: 'data' | 'hole', signal: AbortSignal): Promise<number> {
    return this.#noting(() => this.#open.seek(handle, offset, wanted, signal));
  }

  async release(handle: number): Promise<void> {
    this.#open.release(handle);
  }

  async capacity(): Promise<Capacity> {
    return this.#fileSystem.capacity();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#open.clear();
    this.#nodes.clear();
    await this.#fileSystem.close();
  }

  async #node(inode: Inode, signal: AbortSignal): Promise<FileNode> {
    if (this.#closing !== undefined) throw new StillError('ESTALE', 'the file system is closed');
    const known = this.#nodes.get(inode);
    if (known) return known;
    spend(perNode);
    await rest();
    const node = await this.#noting(() => this.#fileSystem.node(inode, signal));
    this.#nodes.set(inode, node);
    return node;
  }

  async #folder(inode: Inode, signal: AbortSignal): Promise<Folder> {
    const node = await this.#node(inode, signal);
    if (node.type === 'directory') return node;
    throw new StillError('ENOTDIR', `inode ${inode} is a ${node.type}, no folder`);
  }

  #mayBeShown(name: Name): boolean {
    if (isShownName(name)) return true;
    this.#problems.add(
      `${JSON.stringify(nameToText(name))} in a folder is left out: it can't be the name of a file.`,
    );
    return false;
  }

  /** An entry with the attributes of its file, where they can be told at once. */
  #entryNow(folder: Inode, { name, inode, cookie }: ListedEntry): Entry | undefined {
    try {
      const attributes = this.#fileSystem.attributesNow(inode);
      if (!attributes) return undefined;
      if (attributes.type === 'directory') this.#mustStandIn(folder, name, inode);
      return { name, inode, type: attributes.type, cookie, found: { attributes, freshSeconds: lasting } };
    } catch (error) {
      // `#entry` comes upon the same, and takes note of it.
      if (error instanceof StillError) return undefined;
      throw error;
    }
  }

  /** An entry with the attributes of its file, without them where they can't be read. */
  async #entry(folder: Inode, row: ListedEntry, signal: AbortSignal): Promise<Entry> {
    const { name, inode, cookie } = row;
    try {
      const attributes = await this.#enter(folder, name, inode, signal);
      return { name, inode, type: attributes.type, cookie, found: { attributes, freshSeconds: lasting } };
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof StillError)) throw error;
      return { name, inode, type: row.type ?? 'file', cookie };
    }
  }

  /** The file of an entry. EIO: it is damaged, or a folder that stands elsewhere. */
  async #enter(folder: Inode, name: Name, inode: Inode, signal: AbortSignal): Promise<Attributes> {
    const node = await this.#named(name, inode, signal);
    if (node.type === 'directory') this.#mustStandIn(folder, name, inode);
    return node.attributes;
  }

  /** EIO: a folder stands in another one already, so that a walk would go in circles. */
  #mustStandIn(folder: Inode, name: Name, inode: Inode): void {
    if (inode === this.root || (this.#parents.get(inode) ?? folder) !== folder) {
      const sentence = `the folder ${JSON.stringify(nameToText(name))} stands in two places`;
      this.#problems.add(`${sentence}.`);
      throw new StillError('EIO', sentence);
    }
    this.#parents.set(inode, folder);
  }

  /** The node that an entry leads to. EIO: it leads nowhere. */
  async #named(name: Name, inode: Inode, signal: AbortSignal): Promise<FileNode> {
    try {
      return await this.#node(inode, signal);
    } catch (error) {
      if (this.#closing !== undefined || !hasCode(error, 'ESTALE')) throw error;
      const sentence = `the entry ${JSON.stringify(nameToText(name))} of a folder leads to no file`;
      this.#problems.add(`${sentence}: ${messageOf(error)}.`);
      throw new StillError('EIO', sentence, { cause: error });
    }
  }

  async #parentOf(inode: Inode, folder: Folder, signal: AbortSignal): Promise<Inode> {
    if (inode === this.root) return inode;
    const known = this.#parents.get(inode);
    if (known !== undefined) return known;
    if (folder.parent) {
      const parent = await this.#noting(async () => folder.parent?.(signal));
      if (parent !== undefined && (await this.#node(parent, signal)).type === 'directory') return parent;
    }
    throw new StillError('ESTALE', `where folder ${inode} is was forgotten; look it up anew`);
  }

  async #xattrsOf(inode: Inode, signal: AbortSignal): Promise<ReadonlyMap<Name, Uint8Array> | undefined> {
    const node = await this.#node(inode, signal);
    return node.xattrs && this.#noting(async () => node.xattrs?.(signal));
  }

  /** Takes note of what is damaged. */
  async #noting<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof StillError && error.code === 'EIO') this.#problems.add(`${messageOf(error)}.`);
      throw error;
    }
  }
}
