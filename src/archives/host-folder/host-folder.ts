import { constants, statfs } from 'node:fs';
import type { StoreFolder } from '../../disks/store-folder.js';
import { hasCode, StillError } from '../../errors.js';
import type { IdMaps } from '../../id-map.js';
import { isEntryName, type Name, nameToText } from '../../name.js';
import { closeNamed } from '../../posix/named-descriptor.js';
import { O_PATH } from '../../posix/openat2.js';
import { readlinkOf } from '../../posix/readlink.js';
import { type FileStatus, statusOf } from '../../posix/statx.js';
import type { Attributes, Inode } from '../../tree/attributes.js';
import type { Access, Capacity, Change, Entry, Found, Opened, Tree } from '../../tree/tree.js';
import { ExtendedAttributes, type WithFile } from './extended-attributes.js';
import { FolderListing } from './folder-listing.js';
import { InodeNumbers } from './inode-numbers.js';
import { KnownFiles } from './known-files.js';
import { isLocalFileSystem } from './local-file-system.js';
import { LocatedFiles } from './located-files.js';
import { OpenFiles } from './open-files.js';
import { OpenFolders } from './open-folders.js';
import { closeLater, closeNow, openNamed, openNamedNow } from './regular-file.js';
import { SharedDescriptor } from './shared-descriptor.js';
import { ShownAttributes } from './shown-attributes.js';

export interface HostFolderOptions {
  /** How the ids of the files are to be shown; as they are without it. */
  readonly ids?: IdMaps;
  /**
   * What holds of its files: a backup's stay as they are for good; a snapshot's do until the tree is closed, and can't be
   * read after that, also where they are open; those of a folder in use change any time.
   */
  readonly files?: 'lasting' | 'ending' | 'changing';
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
    return new HostFolder(folder, root, status, isLocalFileSystem(type), options);
  } catch (error) {
    root.letGo();
    throw error;
  }
}

const lasting = Number.POSITIVE_INFINITY;
const parentName = '..' as Name;

class HostFolder implements Tree {
  readonly root: Inode;
  /** Of a snapshot: that what is open can't be read any more. */
  readonly watch?: NonNullable<Tree['watch']>;
  readonly #listeners = new Set<(change: Change) => void>();
  readonly #rootDescriptor: SharedDescriptor;
  readonly #fileSystem: number;
  readonly #local: boolean;
  readonly #shown: ShownAttributes;
  /** How long what is told of a file holds: seconds. */
  readonly #freshSeconds: number;
  readonly #kind: NonNullable<HostFolderOptions['files']>;
  readonly #numbers: InodeNumbers;
  readonly #known: KnownFiles;
  readonly #folders: OpenFolders;
  readonly #located: LocatedFiles;
  readonly #listing: FolderListing;
  readonly #files: OpenFiles;
  readonly #extended: ExtendedAttributes;
  #closed = false;

  constructor(
    store: StoreFolder,
    root: SharedDescriptor,
    status: FileStatus,
    local: boolean,
    { ids = {}, files = 'lasting' }: HostFolderOptions,
  ) {
    this.#rootDescriptor = root;
    this.#fileSystem = status.fileSystem;
    this.#local = local;
    this.#kind = files;
    if (files === 'ending')
      this.watch = (listener) => {
        this.#listeners.add(listener);
        return () => this.#listeners.delete(listener);
      };
    this.#freshSeconds = files === 'changing' ? 0 : lasting;
    this.#shown = new ShownAttributes(ids, this.#freshSeconds);
    this.#numbers = new InodeNumbers(status.fileSystem);
    this.root = this.#numbers.numberOf(status);
    this.#known = new KnownFiles(this.root);
    this.#folders = new OpenFolders(root, this.#known, this.#numbers);
    this.#located = new LocatedFiles(store.depth, this.#known, this.#folders, this.#numbers);
    this.#listing = new FolderListing(store.depth, this.#folders, this.#located);
    this.#files = new OpenFiles(store.depth);
    this.#extended = new ExtendedAttributes(ids, files !== 'changing');
  }

  async lookup(folder: Inode, name: Name, signal: AbortSignal): Promise<Found> {
    if (name === parentName) {
      const parent = this.#known.placeOf(folder)?.folder ?? this.root;
      const attributes = await this.attributes(parent, signal);
      this.#known.keep(parent);
      return { attributes, freshSeconds: this.#freshSeconds };
    }
    if (!isEntryName(name)) {
      const code = name.length > 255 ? 'ENAMETOOLONG' : 'EINVAL';
      throw new StillError(code, `${nameToText(name)} can't be the name of a file in a folder`);
    }
    try {
      const status = this.#located.entryNow(folder, name) ?? (await this.#lookupAtDisk(folder, name, signal));
      return { attributes: this.#learn(folder, name, status), freshSeconds: this.#freshSeconds };
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return { freshSeconds: this.#freshSeconds };
      throw error;
    }
  }

  async attributes(inode: Inode, signal: AbortSignal): Promise<Attributes> {
    return this.#shown.of(inode, await this.#located.status(inode, signal));
  }

  async list(folder: Inode, after: bigint, signal: AbortSignal): Promise<readonly Entry[]> {
    const rows = await this.#listing.after(folder, after, signal);
    return rows.map(({ name, next: cookie, inode, type, status }) => {
      if (!status) {
        return { name, inode: this.#numbers.beside(folder, inode), type, cookie };
      }
      const attributes = this.#learn(folder, name, status);
      const found = { attributes, freshSeconds: this.#freshSeconds };
      return { name, inode: attributes.inode, type: status.type, cookie, found };
    });
  }

  readlink(inode: Inode, signal: AbortSignal): Promise<Uint8Array> {
    return this.#located.later(inode, signal, ({ descriptor, status }) => {
      if (status.type === 'symlink') return readlinkOf(descriptor);
      throw new StillError('EINVAL', `inode ${inode} is a ${status.type}, no symlink`);
    });
  }

  xattr(inode: Inode, name: Name, signal: AbortSignal): Promise<Uint8Array> {
    return this.#extended.value(inode, name, this.#withDescriptor(inode, signal));
  }

  xattrs(inode: Inode, signal: AbortSignal): Promise<readonly Name[]> {
    return this.#extended.names(inode, this.#withDescriptor(inode, signal));
  }

  async open(inode: Inode, access: Access, signal: AbortSignal): Promise<Opened> {
    if (access !== 'read') {
      throw new StillError('EROFS', `inode ${inode} can't be written: a backup is never modified`);
    }
    const { descriptor, size } = this.#openNow(inode) ?? (await this.#openLater(inode, signal));
    // Of a file that changes counts what it has by the time that it is read.
    if (this.#kind === 'changing')
      return {
        handle: this.#files.add(inode, descriptor, Number.POSITIVE_INFINITY),
        cache: 'direct',
        size: 0,
      };
    const handle = this.#files.add(inode, descriptor, size);
    if (this.#kind === 'lasting') return { handle, cache: 'keep', passthrough: descriptor.number };
    // Who reads a few bytes at a time (tar) gets them from the kernel, which is told when the snapshot ends.
    return { handle, cache: 'refresh' };
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
    const { bsize, blocks, bavail, files } = await this.#located.later(this.root, signal, ({ descriptor }) =>
      statfsOf(descriptor),
    );
    return { total: blocks * bsize, free: bavail * bsize, files };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const open = this.#files.close();
    for (const inode of open) for (const listener of this.#listeners) listener({ kind: 'inode', inode });
    this.#folders.close();
    this.#rootDescriptor.letGo();
  }

  #lookupAtDisk(folder: Inode, name: Name, signal: AbortSignal): Promise<FileStatus> {
    this.#listing.lookedUp(folder);
    return this.#located.entryLater(folder, name, signal);
  }

  #learn(folder: Inode, name: Name, status: FileStatus): Attributes {
    const inode = this.#numbers.numberOf(status);
    this.#known.learn(inode, folder, name);
    return this.#shown.of(inode, status);
  }

  #withDescriptor(inode: Inode, signal: AbortSignal): WithFile {
    return (call) => this.#located.later(inode, signal, ({ descriptor }) => call(descriptor));
  }

  #openNow(inode: Inode): OpenedFile | undefined {
    if (!this.#local) return undefined;
    return this.#located.now(inode, ({ descriptor, status }) => {
      if (!this.#isLocal(status)) return undefined;
      mustBeFile(inode, status);
      const opened = openNamedNow(descriptor);
      if (opened === undefined) return undefined;
      return { descriptor: new SharedDescriptor(opened, closeNow), size: status.size };
    });
  }

  #openLater(inode: Inode, signal: AbortSignal): Promise<OpenedFile> {
    return this.#located.later(
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

interface OpenedFile {
  readonly descriptor: SharedDescriptor;
  /** Bytes. */
  readonly size: number;
}

/** Only regular files are opened: opening a fifo or a device may wait, or do something. */
function mustBeFile(inode: Inode, { type }: FileStatus): void {
  if (type === 'file') return;
  const code = type === 'directory' ? 'EISDIR' : type === 'symlink' ? 'ELOOP' : 'ENXIO';
  throw new StillError(code, `inode ${inode} is a ${type}; only regular files are opened`);
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
