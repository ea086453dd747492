import { StillError } from '../../src/errors.js';
import type { Name } from '../../src/name.js';
import { epoch } from '../../src/time.js';
import type { Attributes, Inode } from '../../src/tree/attributes.js';
import type { Access, Change, Entry, Found, Opened, Tree } from '../../src/tree/tree.js';

/** What a node of a `MemoryTree` is made of, apart from what stat(2) tells. */
export interface MemoryNode {
  /** What stat tells of it; its inode is given to it by the tree. */
  attributes: Attributes;
  /** A folder's entries. */
  readonly entries?: Entries;
  /** A file's bytes. */
  content?: Content;
  /** How a file is opened. */
  cache?: Opened['cache'];
  /** A symlink's target. */
  target?: Uint8Array;
  readonly xattrs: Map<Name, Uint8Array>;
}

/** A file's bytes, from wherever they come. */
export interface Content {
  /** As `Tree.read`, within the file's size. */
  read(offset: number, target: Uint8Array, signal: AbortSignal): number | Promise<number>;
  /** The ranges that hold data, ascending, [begin, end); all of it where this is left out. */
  readonly data?: ReadonlyArray<readonly [number, number]>;
}

/** The bytes of a string or an array. */
export function bytesContent(bytes: Uint8Array): Content {
  return {
    read(offset, target) {
      const part = bytes.subarray(offset, offset + target.length);
      target.set(part);
      return part.length;
    },
  };
}

/** A folder's names, in an order that stays as it is while names come and go. */
export class Entries {
  readonly #byName = new Map<Name, { cookie: bigint; inode: Inode }>();
  /** By cookie, ascending: a new name gets a greater one than any before. */
  readonly #inOrder: Array<{ cookie: bigint; name: Name }> = [];
  #lastCookie = 0n;

  add(name: Name, inode: Inode): void {
    if (this.#byName.has(name)) throw new StillError('EEXIST', `${name} is there already`);
    const cookie = ++this.#lastCookie;
    this.#byName.set(name, { cookie, inode });
    this.#inOrder.push({ cookie, name });
  }

  remove(name: Name): void {
    const entry = this.#byName.get(name);
    if (!entry) throw new StillError('ENOENT', `${name} is not there`);
    this.#byName.delete(name);
    this.#inOrder.splice(this.#firstAfter(entry.cookie - 1n), 1);
  }

  inode(name: Name): Inode | undefined {
    return this.#byName.get(name)?.inode;
  }

  get size(): number {
    return this.#byName.size;
  }

  after(cookie: bigint, most: number): Array<{ cookie: bigint; name: Name; inode: Inode }> {
    const from = this.#firstAfter(cookie);
    return this.#inOrder.slice(from, from + most).flatMap((entry) => {
      const inode = this.inode(entry.name);
      return inode === undefined ? [] : [{ ...entry, inode }];
    });
  }

  #firstAfter(cookie: bigint): number {
    let low = 0;
    let high = this.#inOrder.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#inOrder[middle]?.cookie ?? 0n) <= cookie) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** How many entries one `list` gives. */
const listed = 512;

/** A tree whose nodes lie in memory: read-only, every optional operation but `seek` and `watch` left out. */
export class MemoryTree implements Tree {
  readonly root: Inode;
  readonly #nodes = new Map<Inode, MemoryNode>();
  readonly #parents = new Map<Inode, Inode>();
  readonly #handles = new Map<number, MemoryNode>();
  readonly #listeners = new Set<(change: Change) => void>();
  #lastInode: Inode;
  #lastHandle = 0;

  /** The root gets the first inode's number, the others those that follow. */
  constructor(firstInode: Inode = 1n) {
    this.#lastInode = firstInode - 1n;
    this.root = this.addFolder();
    this.#parents.set(this.root, this.root);
  }

  /** How many files are open. */
  get opened(): number {
    return this.#handles.size;
  }

  // Building.

  addFolder(attributes: Partial<Attributes> = {}): Inode {
    return this.#add({ type: 'directory', permissions: 0o755, links: 2, ...attributes }, new Entries());
  }

  addFile(
    content: Content | Uint8Array | string,
    attributes: Partial<Attributes> = {},
    cache: Opened['cache'] = 'keep',
  ): Inode {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content;
    const size = bytes instanceof Uint8Array ? bytes.length : 0;
    const inode = this.#add({ type: 'file', size, allocated: size, ...attributes });
    const node = this.node(inode);
    node.content = bytes instanceof Uint8Array ? bytesContent(bytes) : bytes;
    node.cache = cache;
    return inode;
  }

  addSymlink(target: Uint8Array | string, attributes: Partial<Attributes> = {}): Inode {
    const bytes = Buffer.from(target);
    const inode = this.#add({ type: 'symlink', permissions: 0o777, size: bytes.length, ...attributes });
    this.node(inode).target = bytes;
    return inode;
  }

  addNode(type: Attributes['type'], attributes: Partial<Attributes> = {}): Inode {
    return this.#add({ type, ...attributes });
  }

  /** Puts a node into a folder under a name of bytes (one char each); of ASCII where the name is a plain string. */
  link(folder: Inode, name: string, inode: Inode): Inode {
    this.entries(folder).add(name as Name, inode);
    if (!this.#parents.has(inode)) this.#parents.set(inode, folder);
    return inode;
  }

  unlink(folder: Inode, name: string): void {
    this.entries(folder).remove(name as Name);
  }

  node(inode: Inode): MemoryNode {
    const node = this.#nodes.get(inode);
    if (!node) throw new StillError('ESTALE', `there is no inode ${inode}`);
    return node;
  }

  entries(folder: Inode): Entries {
    const { entries } = this.node(folder);
    if (!entries) throw new StillError('ENOTDIR', `inode ${folder} is no folder`);
    return entries;
  }

  describe(inode: Inode, change: Partial<Attributes>): void {
    const node = this.node(inode);
    node.attributes = { ...node.attributes, ...change };
  }

  tell(change: Change): void {
    for (const listener of this.#listeners) listener(change);
  }

  #add(attributes: Partial<Attributes>, entries?: Entries): Inode {
    const inode = ++this.#lastInode;
    this.#nodes.set(inode, {
      attributes: {
        type: 'file',
        permissions: 0o644,
        links: 1,
        uid: 0,
        gid: 0,
        size: 0,
        allocated: 0,
        accessed: epoch,
        modified: epoch,
        changed: epoch,
        freshSeconds: Number.POSITIVE_INFINITY,
        ...attributes,
        inode,
      },
      ...(entries && { entries }),
      xattrs: new Map(),
    });
    return inode;
  }

  // The tree.

  async lookup(folder: Inode, name: Name, signal: AbortSignal): Promise<Found> {
    const freshSeconds = this.node(folder).attributes.freshSeconds;
    const inode = name === '..' ? this.#parents.get(folder) : this.entries(folder).inode(name);
    if (inode === undefined) return { freshSeconds };
    return { attributes: await this.attributes(inode, signal), freshSeconds };
  }

  async attributes(inode: Inode, _signal: AbortSignal): Promise<Attributes> {
    return this.node(inode).attributes;
  }

  async list(folder: Inode, after: bigint, _signal: AbortSignal): Promise<readonly Entry[]> {
    const freshSeconds = this.node(folder).attributes.freshSeconds;
    return this.entries(folder)
      .after(after, listed)
      .map((entry) => {
        const { attributes } = this.node(entry.inode);
        const type = attributes.type;
        return { ...entry, type, ...(!attributes.graft && { found: { attributes, freshSeconds } }) };
      });
  }

  async readlink(inode: Inode, _signal: AbortSignal): Promise<Uint8Array> {
    const { target } = this.node(inode);
    if (!target) throw new StillError('EINVAL', `inode ${inode} is no symlink`);
    return target;
  }

  async xattr(inode: Inode, name: Name, _signal: AbortSignal): Promise<Uint8Array> {
    const value = this.node(inode).xattrs.get(name);
    if (!value) throw new StillError('ENODATA', `inode ${inode} has no attribute ${name}`);
    return value;
  }

  async xattrs(inode: Inode, _signal: AbortSignal): Promise<readonly Name[]> {
    return [...this.node(inode).xattrs.keys()];
  }

  async open(inode: Inode, access: Access, _signal: AbortSignal): Promise<Opened> {
    const node = this.node(inode);
    if (!node.content) throw new StillError('EISDIR', `inode ${inode} has no bytes`);
    if (access !== 'read' && !this.accepts(inode)) {
      throw new StillError('EROFS', `inode ${inode} can not be written to`);
    }
    const handle = ++this.#lastHandle;
    this.#handles.set(handle, node);
    return { handle, cache: node.cache ?? 'keep' };
  }

  /** Whether a file may be opened for writing. */
  protected accepts(_inode: Inode): boolean {
    return false;
  }

  opening(handle: number): MemoryNode & { content: Content } {
    const node = this.#handles.get(handle);
    if (!node?.content) throw new StillError('EBADF', `there is no handle ${handle}`);
    return { ...node, content: node.content };
  }

  async read(handle: number, offset: number, target: Uint8Array, signal: AbortSignal): Promise<number> {
    const { content, attributes } = this.opening(handle);
    const length = Math.max(0, Math.min(target.length, attributes.size - offset));
    return length === 0 ? 0 : content.read(offset, target.subarray(0, length), signal);
  }

  async seek(handle: number, offset: number, wanted: 'data' | 'hole', _signal: AbortSignal): Promise<number> {
    const { content, attributes } = this.opening(handle);
    const { size } = attributes;
    if (offset >= size) throw new StillError('ENXIO', `offset ${offset} is beyond the end`);
    const ranges = content.data ?? [[0, size]];
    if (wanted === 'hole') {
      return ranges.find(([begin, end]) => begin <= offset && offset < end)?.[1] ?? offset;
    }
    const range = ranges.find(([, end]) => end > offset);
    if (!range) throw new StillError('ENXIO', `there is no data after ${offset}`);
    return Math.max(offset, range[0]);
  }

  async release(handle: number): Promise<void> {
    if (!this.#handles.delete(handle)) throw new StillError('EBADF', `there is no handle ${handle}`);
  }

  watch(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#handles.clear();
    this.#listeners.clear();
  }
}
