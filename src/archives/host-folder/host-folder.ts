import { constants, statfs } from 'node:fs';
import { LRUCache } from 'lru-cache';
import type { StoreFolder } from '../../disks/store-folder.js';
import { hasCode, StillError } from '../../errors.js';
import { isEntryName, type Name, nameToText } from '../../name.js';
import type { DirectoryRow } from '../../posix/getdents.js';
import { closeNamed } from '../../posix/named-descriptor.js';
import { O_PATH, openBeneath, openBeneathIfCached } from '../../posix/openat2.js';
import { readlinkOf } from '../../posix/readlink.js';
import {
  entryStatusIfCached,
  type FileStatus,
  statusIfCached,
  statusOf,
  statusOfEntry,
} from '../../posix/statx.js';
import type { Attributes, Inode } from '../../tree/attributes.js';
import type { Access, Capacity, Entry, Found, Opened, Tree } from '../../tree/tree.js';
import type { IdMap } from '../id-map.js';
import { ExtendedAttributes, type WithFile } from './extended-attributes.js';
import { readRows } from './folder-rows.js';
import { InodeNumbers } from './inode-numbers.js';
import { KnownFiles } from './known-files.js';
import { isLocalFileSystem } from './local-file-system.js';
import { OpenFiles } from './open-files.js';
import { OpenFolders } from './open-folders.js';
import { closeLater, closeNow, openNamed, openNamedNow } from './regular-file.js';
import { SharedDescriptor } from './shared-descriptor.js';
import { shownAttributes } from './shown-attributes.js';

export interface HostFolderOptions {
  /** How the ids of the files are to be shown; as they are without it. */
  readonly idMap?: IdMap;
}

/**
 * Opens a folder beneath a store's as a tree: a container that was backed up as plain files. Other file systems that
 * are mounted in it (subvolumes) are part of it, with numbers of their own. ENOENT, ENOTDIR: there is no such folder.
 */
export async function openHostFolder(
  folder: StoreFolder,
  path: Name,
  options: HostFolderOptions = {},
  signal?: AbortSignal,
): Promise<Tree> {
  const flags = O_PATH | constants.O_DIRECTORY;
  const root = new SharedDescriptor(await folder.openFile(path, flags, signal), closeNamed);
  try {
    const told = folder.depth.run(async () => {
      root.hold();
      try {
        return { status: await statusOf(root.number), type: (await statfsOf(root.number)).type };
      } finally {
        root.letGo();
      }
    }, signal);
    const { status, type } = await told;
    return new HostFolder(folder, root, status, isLocalFileSystem(type), options.idMap);
  } catch (error) {
    root.letGo();
    throw error;
  }
}

const lasting = Number.POSITIVE_INFINITY;
const parentName = '..' as Name;
/** So many entries that are not in memory show that a folder is not: the others are not tried. */
const mostMisses = 8;
const mostEnds = 64;
/** Cookies are to be below 2^63, and the last two but one are the mount's (Entry.cookie). */
const cookieLimit = 2n ** 63n;
const cookiesOfMount = [cookieLimit - 3n, cookieLimit - 2n];

/** A file that a descriptor names. */
interface NamedFile {
  readonly descriptor: number;
  readonly status: FileStatus;
}

/**
 * Each operation first tries what the kernel has in memory, in this thread (a few µs), then goes through the pool and
 * the store's queue depth (some 50 µs for each call, and whatever the disk or server takes).
 */
class HostFolder implements Tree {
  readonly root: Inode;
  readonly #store: StoreFolder;
  readonly #rootDescriptor: SharedDescriptor;
  readonly #fileSystem: number;
  readonly #local: boolean;
  readonly #idMap: IdMap | undefined;
  readonly #numbers: InodeNumbers;
  readonly #known: KnownFiles;
  readonly #folders: OpenFolders;
  readonly #files: OpenFiles;
  readonly #extended: ExtendedAttributes;
  /** The cookies that nothing follows: the end of a folder is seen with its last entries, and asked for after. */
  readonly #ends = new LRUCache<Inode, bigint>({ max: mostEnds });
  #closed = false;

  constructor(
    store: StoreFolder,
    root: SharedDescriptor,
    status: FileStatus,
    local: boolean,
    idMap: IdMap | undefined,
  ) {
    this.#store = store;
    this.#rootDescriptor = root;
    this.#fileSystem = status.fileSystem;
    this.#local = local;
    this.#idMap = idMap;
    this.#numbers = new InodeNumbers(status.fileSystem);
    this.root = this.#numbers.numberOf(status);
    this.#known = new KnownFiles(this.root);
    this.#folders = new OpenFolders(root, this.#known, this.#numbers);
    this.#files = new OpenFiles(store.depth);
    this.#extended = new ExtendedAttributes(idMap);
  }

  async lookup(folder: Inode, name: Name, signal: AbortSignal): Promise<Found> {
    if (name === parentName) {
      const parent = this.#known.placeOf(folder)?.folder ?? this.root;
      const attributes = await this.attributes(parent, signal);
      this.#known.keep(parent);
      return { attributes, freshSeconds: lasting };
    }
    if (!isEntryName(name)) {
      const code = name.length > 255 ? 'ENAMETOOLONG' : 'EINVAL';
      throw new StillError(code, `${nameToText(name)} can't be the name of a file in a folder`);
    }
    try {
      const status = await this.#statusOfEntry(folder, name, signal);
      return { attributes: this.#learn(folder, name, status), freshSeconds: lasting };
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return { freshSeconds: lasting };
      throw error;
    }
  }

  async attributes(inode: Inode, signal: AbortSignal): Promise<Attributes> {
    const place = this.#known.placeOf(inode);
    const status = place
      ? await this.#atItsPlace(inode, () => this.#statusOfEntry(place.folder, place.name, signal))
      : await this.#statusOfRoot(signal);
    this.#check(inode, status);
    return shownAttributes(inode, status, this.#idMap);
  }

  async list(folder: Inode, after: bigint, signal: AbortSignal): Promise<readonly Entry[]> {
    if (after !== 0n && this.#ends.get(folder) === after) return [];
    const { rows, last } = await this.#store.depth.run(async () => {
      const descriptor = await this.#folders.later(folder);
      try {
        const read = await readRows(descriptor.number, after);
        return { rows: await withTypes(descriptor.number, read.rows), last: read.last };
      } finally {
        descriptor.letGo();
      }
    }, signal);
    const entries = this.#entriesOf(folder, rows);
    const end = entries.at(-1)?.cookie;
    if (last && end !== undefined) this.#ends.set(folder, end);
    return entries;
  }

  readlink(inode: Inode, signal: AbortSignal): Promise<Uint8Array> {
    return this.#withNamed(inode, signal, ({ descriptor, status }) => {
      if (status.type !== 'symlink')
        throw new StillError('EINVAL', `inode ${inode} is a ${status.type}, no symlink`);
      return readlinkOf(descriptor);
    });
  }

  xattr(inode: Inode, name: Name, signal: AbortSignal): Promise<Uint8Array> {
    return this.#extended.value(inode, name, this.#withDescriptor(inode, signal));
  }

  xattrs(inode: Inode, signal: AbortSignal): Promise<readonly Name[]> {
    return this.#extended.names(inode, this.#withDescriptor(inode, signal));
  }

  async open(inode: Inode, access: Access, signal: AbortSignal): Promise<Opened> {
    if (access !== 'read')
      throw new StillError('EROFS', `inode ${inode} can't be written: a backup is never modified`);
    const { descriptor, size } = this.#openNow(inode) ?? (await this.#openLater(inode, signal));
    const handle = this.#files.add(descriptor, size);
    return { handle, cache: 'keep', passthrough: descriptor.number };
  }

  read(handle: number, offset: number, target: Uint8Array, signal: AbortSignal): Promise<number> {
    return this.#files.read(handle, offset, target, signal);
  }

  seek(handle: number, offset: number, wanted: 'data' | 'hole', signal: AbortSignal): Promise<number> {
    return this.#files.seek(handle, offset, wanted, signal);
  }

  async release(handle: number): Promise<void> {
    this.#files.release(handle);
  }

  forget(inode: Inode): void {
    this.#known.forget(inode);
    this.#extended.forget(inode);
  }

  async capacity(signal: AbortSignal): Promise<Capacity> {
    const { bsize, blocks, bavail, files } = await this.#store.depth.run(async () => {
      this.#rootDescriptor.hold();
      try {
        return await statfsOf(this.#rootDescriptor.number);
      } finally {
        this.#rootDescriptor.letGo();
      }
    }, signal);
    return { total: blocks * bsize, free: bavail * bsize, files };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#files.close();
    this.#folders.close();
    this.#rootDescriptor.letGo();
  }

  async #statusOfRoot(signal: AbortSignal): Promise<FileStatus> {
    const root = this.#rootDescriptor;
    const status = statusIfCached(root.number);
    if (status) return status;
    return this.#store.depth.run(async () => {
      root.hold();
      try {
        return await statusOf(root.number);
      } finally {
        root.letGo();
      }
    }, signal);
  }

  async #statusOfEntry(folder: Inode, name: Name, signal: AbortSignal): Promise<FileStatus> {
    const descriptor = this.#folders.now(folder);
    const status = descriptor === undefined ? undefined : entryStatusIfCached(descriptor, name);
    if (status) return status;
    return this.#store.depth.run(async () => {
      const held = await this.#folders.later(folder);
      try {
        return await statusOfEntry(held.number, name);
      } finally {
        held.letGo();
      }
    }, signal);
  }

  #entriesOf(folder: Inode, rows: readonly TypedRow[]): Entry[] {
    const entries: Entry[] = [];
    let descriptor = rows.length > 0 ? this.#folders.now(folder) : undefined;
    let misses = 0;
    for (const { name, inode, type, next, status: told } of rows) {
      if (next < 1n || next >= cookieLimit || cookiesOfMount.includes(next)) {
        throw new StillError(
          'EOVERFLOW',
          `inode ${folder} can't be listed: its file system counts beyond 2^63`,
        );
      }
      const status = told ?? (descriptor === undefined ? undefined : entryStatusOrNothing(descriptor, name));
      if (status) {
        const attributes = this.#learn(folder, name, status);
        const found = { attributes, freshSeconds: lasting };
        entries.push({ name, inode: attributes.inode, type: status.type, cookie: next, found });
      } else {
        misses++;
        if (misses === mostMisses) descriptor = undefined;
        entries.push({
          name,
          inode: this.#numbers.numberOf({ fileSystem: this.#fileSystem, inode }),
          type,
          cookie: next,
        });
      }
    }
    return entries;
  }

  #learn(folder: Inode, name: Name, status: FileStatus): Attributes {
    const inode = this.#numbers.numberOf(status);
    this.#known.learn(inode, folder, name);
    return shownAttributes(inode, status, this.#idMap);
  }

  #check(inode: Inode, status: FileStatus): void {
    if (this.#numbers.numberOf(status) !== inode) {
      throw new StillError('ESTALE', `another file has the name of inode ${inode} by now; look it up anew`);
    }
  }

  /** What is done with a file where it was found: that it is not there any more is ESTALE, not ENOENT. */
  async #atItsPlace<T>(inode: Inode, call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      throw staleIfGone(inode, error);
    }
  }

  /** Names a file in this thread; undefined where that would wait. The caller closes it. */
  #nameNow(inode: Inode): NamedFile | undefined {
    const place = this.#known.placeOf(inode) ?? { folder: inode, name: '' as Name };
    const folder = this.#folders.now(place.folder);
    if (folder === undefined) return undefined;
    let descriptor: number;
    try {
      descriptor = openBeneathIfCached(folder, place.name, O_PATH);
    } catch (error) {
      if (hasCode(error, 'EAGAIN')) return undefined;
      throw staleIfGone(inode, error);
    }
    let named: NamedFile | undefined;
    try {
      const status = statusIfCached(descriptor);
      if (!status) return undefined;
      this.#check(inode, status);
      named = { descriptor, status };
      return named;
    } finally {
      if (!named) closeNamed(descriptor);
    }
  }

  /** Names a file in the pool. The caller closes it. */
  async #nameLater(inode: Inode): Promise<NamedFile> {
    const place = this.#known.placeOf(inode) ?? { folder: inode, name: '' as Name };
    const folder = await this.#folders.later(place.folder);
    let descriptor: number | undefined;
    try {
      descriptor = await openBeneath(folder.number, place.name, O_PATH);
      const status = await statusOf(descriptor);
      this.#check(inode, status);
      return { descriptor, status };
    } catch (error) {
      if (descriptor !== undefined) closeNamed(descriptor);
      throw staleIfGone(inode, error);
    } finally {
      folder.letGo();
    }
  }

  /** Calls with a file in the pool; after an abort the call goes on to its end, so that nobody closes what it uses. */
  #withNamed<T>(
    inode: Inode,
    signal: AbortSignal,
    call: (file: NamedFile) => Promise<T>,
    discard?: (late: T) => void,
  ): Promise<T> {
    return this.#store.depth.run(
      async () => {
        const file = this.#nameNow(inode) ?? (await this.#nameLater(inode));
        try {
          return await call(file);
        } finally {
          closeNamed(file.descriptor);
        }
      },
      signal,
      discard,
    );
  }

  #withDescriptor(inode: Inode, signal: AbortSignal): WithFile {
    return (call) => this.#withNamed(inode, signal, ({ descriptor }) => call(descriptor));
  }

  #openNow(inode: Inode): { descriptor: SharedDescriptor; size: number } | undefined {
    if (!this.#local) return undefined;
    const named = this.#nameNow(inode);
    if (!named) return undefined;
    try {
      if (!this.#isLocal(named.status)) return undefined;
      mustBeFile(inode, named.status);
      const opened = openNamedNow(named.descriptor);
      if (opened === undefined) return undefined;
      return { descriptor: new SharedDescriptor(opened, closeNow), size: named.status.size };
    } finally {
      closeNamed(named.descriptor);
    }
  }

  #openLater(inode: Inode, signal: AbortSignal): Promise<{ descriptor: SharedDescriptor; size: number }> {
    return this.#withNamed(
      inode,
      signal,
      async ({ descriptor, status }) => {
        mustBeFile(inode, status);
        const close = this.#isLocal(status) ? closeNow : closeLater;
        return { descriptor: new SharedDescriptor(await openNamed(descriptor), close), size: status.size };
      },
      (late) => late.descriptor.letGo(),
    );
  }

  #isLocal(status: FileStatus): boolean {
    return this.#local && status.fileSystem === this.#fileSystem;
  }
}

interface TypedRow extends DirectoryRow {
  readonly type: NonNullable<DirectoryRow['type']>;
  readonly status?: FileStatus;
}

/** Asks for the types that the file system does not tell in its listings; what went away meanwhile is left out. */
async function withTypes(folder: number, rows: readonly DirectoryRow[]): Promise<TypedRow[]> {
  const typed: TypedRow[] = [];
  for (const row of rows) {
    const { type } = row;
    if (type) {
      typed.push({ ...row, type });
      continue;
    }
    try {
      const status = await statusOfEntry(folder, row.name);
      typed.push({ ...row, type: status.type, status });
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error;
    }
  }
  return typed;
}

/** For a listing, which only takes what costs nothing; whoever then looks the name up is told what is wrong with it. */
function entryStatusOrNothing(folder: number, name: Name): FileStatus | undefined {
  try {
    return entryStatusIfCached(folder, name);
  } catch {
    return undefined;
  }
}

/** Only regular files are opened: opening a fifo or a device may wait, or do something. */
function mustBeFile(inode: Inode, { type }: FileStatus): void {
  if (type === 'file') return;
  const code = type === 'directory' ? 'EISDIR' : type === 'symlink' ? 'ELOOP' : 'ENXIO';
  throw new StillError(code, `inode ${inode} is a ${type}; only regular files are opened`);
}

function staleIfGone(inode: Inode, error: unknown): unknown {
  if (!hasCode(error, 'ENOENT') && !hasCode(error, 'ENOTDIR')) return error;
  return new StillError('ESTALE', `inode ${inode} is not where it was found; look it up anew`, {
    cause: error,
  });
}

function statfsOf(descriptor: number): Promise<{
  type: number;
  bsize: number;
  blocks: number;
  bavail: number;
  files: number;
}> {
  return new Promise((resolve, reject) => {
    statfs(`/proc/self/fd/${descriptor}`, (error, told) => (error ? reject(error) : resolve(told)));
  });
}
