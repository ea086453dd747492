import { LRUCache } from 'lru-cache';
import { StillError } from '../../errors.js';
import { isEntryName, type Name, nameToText } from '../../name.js';
import type { Attributes, Inode } from '../../tree/attributes.js';
import type { Access, Capacity, Entry, Found, Opened, Tree } from '../../tree/tree.js';
import { accountNames } from './account-names.js';
import type { IdOfName } from './acl-text.js';
import type { ArchiveBytes } from './archive-bytes.js';
import { attributesOf } from './extended-attributes.js';
import { NearReads } from './near-reads.js';
import { dataBytes, readSparse, seekSparse } from './sparse-reads.js';
import { rootNode, type TarIndex } from './tar-index.js';

const lasting = Number.POSITIVE_INFINITY;
const parentName = '..' as Name;
/** How many entries one `list` gives. */
const listed = 512;
/** The largest file of names that is looked into for ids. */
const mostAccounts = 1 << 20;
/** Bytes of attributes' values that are remembered. */
const mostAttributeBytes = 4 << 20;
const noAttributes: ReadonlyMap<Name, Uint8Array> = new Map();

/** An archive's files as a tree. A node's inode is its number and 1. */
export class TarTree implements Tree {
  readonly root: Inode = inodeOf(rootNode);
  readonly memoryBytes: number;
  readonly #archive: ArchiveBytes;
  readonly #index: TarIndex;
  readonly #near: NearReads;
  readonly #handles = new Map<number, number>();
  readonly #attributes = new LRUCache<number, ReadonlyMap<Name, Uint8Array>>({
    maxSize: mostAttributeBytes,
    sizeCalculation: (values) => [...values.values()].reduce((sum, { length }) => sum + length + 100, 100),
  });
  #accounts: IdOfName | undefined;
  #lastHandle = 0;

  /** Takes the archive over, and closes it. */
  constructor(archive: ArchiveBytes, index: TarIndex) {
    this.#archive = archive;
    this.#index = index;
    this.#near = new NearReads(archive);
    this.memoryBytes = index.memoryBytes;
  }

  async lookup(folder: Inode, name: Name, signal: AbortSignal): Promise<Found> {
    signal.throwIfAborted();
    const node = this.#nodeOf(folder);
    if (name === parentName) return this.#found(this.#index.parentOf(node));
    if (!isEntryName(name)) {
      const code = name.length > 255 ? 'ENAMETOOLONG' : 'EINVAL';
      throw new StillError(code, `${nameToText(name)} can't be the name of a file in a folder`);
    }
    const found = this.#index.find(node, name);
    return found === undefined ? { freshSeconds: lasting } : this.#found(found);
  }

  async attributes(inode: Inode, signal: AbortSignal): Promise<Attributes> {
    signal.throwIfAborted();
    return this.#attributesOf(this.#nodeOf(inode));
  }

  async list(folder: Inode, after: bigint, signal: AbortSignal): Promise<readonly Entry[]> {
    signal.throwIfAborted();
    const from = after > 0xffff_ffffn ? 0xffff_ffff : Number(after);
    return this.#index.entries(this.#nodeOf(folder), from, listed).map(({ name, node, place }) => {
      const found = this.#found(node);
      return {
        name,
        inode: found.attributes.inode,
        type: found.attributes.type,
        cookie: BigInt(place),
        found,
      };
    });
  }

  async readlink(inode: Inode, signal: AbortSignal): Promise<Uint8Array> {
    signal.throwIfAborted();
    const node = this.#nodeOf(inode);
    const type = this.#index.typeOf(node);
    if (type !== 'symlink') throw new StillError('EINVAL', `inode ${inode} is a ${type}, no symlink`);
    return this.#index.targetOf(node);
  }

  async xattr(inode: Inode, name: Name, signal: AbortSignal): Promise<Uint8Array> {
    const value = (await this.#xattrsOf(this.#nodeOf(inode), signal)).get(name);
    if (!value) throw new StillError('ENODATA', `inode ${inode} has no attribute ${nameToText(name)}`);
    return value;
  }

  async xattrs(inode: Inode, signal: AbortSignal): Promise<readonly Name[]> {
    return [...(await this.#xattrsOf(this.#nodeOf(inode), signal)).keys()];
  }

  async open(inode: Inode, access: Access, signal: AbortSignal): Promise<Opened> {
    signal.throwIfAborted();
    const node = this.#nodeOf(inode);
    const type = this.#index.typeOf(node);
    if (type !== 'file') {
      const code = type === 'directory' ? 'EISDIR' : type === 'symlink' ? 'ELOOP' : 'ENXIO';
      throw new StillError(code, `inode ${inode} is a ${type}; only regular files are opened`);
    }
    if (access !== 'read') {
      throw new StillError('EROFS', `inode ${inode} can't be written: a backup is never modified`);
    }
    if (this.#index.isUnreadable(node)) {
      throw new StillError(
        'EIO',
        `inode ${inode} can't be read: PROBLEM.txt tells what is wrong in the archive`,
      );
    }
    this.#handles.set(++this.#lastHandle, node);
    const size = this.#index.columns.size[node] ?? 0;
    const isWhole = size > 0 && !this.#index.piecesOf(node);
    return { handle: this.#lastHandle, cache: 'keep', ...(isWhole && { whole: size }) };
  }

  async read(handle: number, offset: number, target: Uint8Array, signal: AbortSignal): Promise<number> {
    signal.throwIfAborted();
    const node = this.#opened(handle);
    const { size, place } = this.#index.columns;
    const length = Math.max(0, Math.min(target.length, (size[node] ?? 0) - offset));
    if (length === 0) return 0;
    const wanted = target.subarray(0, length);
    const begin = place[node] ?? 0;
    const pieces = this.#index.piecesOf(node);
    if (!pieces) await this.#readArchived(begin + offset, wanted, signal);
    else await readSparse(pieces, offset, wanted, (at, part) => this.#readArchived(begin + at, part, signal));
    return length;
  }

  async seek(handle: number, offset: number, wanted: 'data' | 'hole', signal: AbortSignal): Promise<number> {
    signal.throwIfAborted();
    const node = this.#opened(handle);
    const size = this.#index.columns.size[node] ?? 0;
    if (offset >= size) throw new StillError('ENXIO', `byte ${offset} is beyond the file's ${size}`);
    const pieces = this.#index.piecesOf(node);
    if (pieces) return seekSparse(pieces, size, offset, wanted);
    return wanted === 'data' ? offset : size;
  }

  async release(handle: number): Promise<void> {
    if (!this.#handles.delete(handle)) throw new StillError('EBADF', `there is no handle ${handle}`);
  }

  async capacity(signal: AbortSignal): Promise<Capacity> {
    signal.throwIfAborted();
    return { total: this.#archive.size, free: 0, files: this.#index.nodes };
  }

  async close(): Promise<void> {
    this.#handles.clear();
    this.#attributes.clear();
    await this.#archive.close();
  }

  #nodeOf(inode: Inode): number {
    if (inode < 1n || inode > BigInt(this.#index.nodes))
      throw new StillError('ESTALE', `there is no inode ${inode}`);
    return Number(inode) - 1;
  }

  #opened(handle: number): number {
    const node = this.#handles.get(handle);
    if (node === undefined) throw new StillError('EBADF', `there is no handle ${handle}`);
    return node;
  }

  async #readArchived(at: number, target: Uint8Array, signal: AbortSignal): Promise<void> {
    if (at + target.length > this.#archive.size) {
      throw new StillError(
        'EIO',
        `the archive ends at byte ${this.#archive.size}, before the ${target.length} bytes from ${at} on: it was cut short`,
      );
    }
    await this.#near.read(at, target, signal);
  }

  #found(node: number): Found & { attributes: Attributes } {
    return { attributes: this.#attributesOf(node), freshSeconds: lasting };
  }

  #attributesOf(node: number): Attributes {
    const { columns } = this.#index;
    const type = this.#index.typeOf(node);
    const hasBytes = type === 'file' || type === 'symlink';
    const size = hasBytes ? (columns.size[node] ?? 0) : 0;
    const pieces = type === 'file' ? this.#index.piecesOf(node) : undefined;
    const place = columns.place[node] ?? 0;
    const modified = timeOf(columns.modified, columns.modifiedNanoseconds, node);
    const others = columns.accessed.length > 0;
    return {
      inode: inodeOf(node),
      type,
      permissions: this.#index.permissionsOf(node),
      links: columns.links[node] ?? 1,
      uid: columns.uid[node] ?? 0,
      gid: columns.gid[node] ?? 0,
      ...((type === 'block' || type === 'character') && {
        device: { major: Math.floor(place / 2 ** 32), minor: place % 2 ** 32 },
      }),
      size,
      allocated: type !== 'file' ? 0 : pieces ? dataBytes(pieces) : size,
      accessed: others ? timeOf(columns.accessed, columns.accessedNanoseconds, node) : modified,
      modified,
      changed: others ? timeOf(columns.changed, columns.changedNanoseconds, node) : modified,
      freshSeconds: lasting,
    };
  }

  async #xattrsOf(node: number, signal: AbortSignal): Promise<ReadonlyMap<Name, Uint8Array>> {
    signal.throwIfAborted();
    const places = this.#index.attributeHeadersOf(node);
    if (places.length === 0) return noAttributes;
    const known = this.#attributes.get(node);
    if (known) return known;
    const headers: Buffer[] = [];
    for (const { at, size } of places) {
      const header = Buffer.alloc(size);
      await this.#readArchived(at, header, signal);
      headers.push(header);
    }
    this.#accounts ??= await accountNames((path) => this.#smallFile(path, signal));
    const attributes = attributesOf(headers, this.#accounts);
    this.#attributes.set(node, attributes);
    return attributes;
  }

  /** A regular file by its path, no link followed. */
  async #smallFile(path: readonly string[], signal: AbortSignal): Promise<Buffer | undefined> {
    let node: number | undefined = rootNode;
    for (const name of path) {
      if (node === undefined || this.#index.typeOf(node) !== 'directory') return undefined;
      node = this.#index.find(node, name as Name);
    }
    if (node === undefined || this.#index.typeOf(node) !== 'file') return undefined;
    const size = this.#index.columns.size[node] ?? 0;
    if (size > mostAccounts || this.#index.isUnreadable(node) || this.#index.piecesOf(node)) return undefined;
    const bytes = Buffer.alloc(size);
    try {
      await this.#readArchived(this.#index.columns.place[node] ?? 0, bytes, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof StillError) return undefined;
      throw error;
    }
    return bytes;
  }
}

function inodeOf(node: number): Inode {
  return BigInt(node) + 1n;
}

function timeOf(seconds: Float64Array, nanoseconds: Uint32Array, node: number): Attributes['modified'] {
  return { seconds: seconds[node] ?? 0, nanoseconds: nanoseconds[node] ?? 0 };
}
