import { constants, open, read, statfs } from 'node:fs';
import { LRUCache } from 'lru-cache';
import type { StoreFolder } from '../../disks/store-folder.js';
import { hasCode, StillError } from '../../errors.js';
import { type Name, nameToText } from '../../name.js';
import { readDirectory } from '../../posix/getdents.js';
import { O_PATH } from '../../posix/openat2.js';
import { readCached } from '../../posix/read-cached.js';
import { readSymlink } from '../../posix/readlink.js';
import { seek } from '../../posix/seek.js';
import { type FileStatus, statIn, statOpen } from '../../posix/statx.js';
import { getXattr, listXattrs } from '../../posix/xattr.js';
import type { Attributes, Inode } from '../../tree/attributes.js';
import type { Access, Capacity, Entry, Found, Opened, Tree } from '../../tree/tree.js';
import { capabilityInside } from '../capability.js';
import { type IdMap, idInside } from '../id-map.js';
import { aclInside } from '../posix-acl.js';
import { closeLate, closeNamed, openPlace } from './opening.js';
import { type Place, rootPlace } from './place.js';

export interface HostFolderOptions {
  /** Shows the ids that the container sees, in owners, ACLs and capabilities; without it the host's. */
  readonly idMap?: IdMap;
}

/** So many forgotten places are kept, for an NFS server that asks for them again. */
const forgottenPlaces = 10_000;
const forEver = Number.POSITIVE_INFINITY;
const O_NOATIME = 0o1000000;

/**
 * A folder of a store as a tree, read-only and as it is: the container in a backup that is kept as a plain folder.
 * Nothing is followed out of it: every file is opened beneath the folder, and must still be the one that was found.
 */
export async function openHostFolder(
  folder: StoreFolder,
  path: Name,
  options: HostFolderOptions = {},
  signal: AbortSignal = new AbortController().signal,
): Promise<Tree> {
  const root = await folder.openFile(path, O_PATH | constants.O_DIRECTORY, signal);
  return new HostFolder(folder, root, options.idMap);
}

class HostFolder implements Tree {
  readonly root: Inode;
  readonly #store: StoreFolder;
  readonly #descriptor: number;
  readonly #idMap: IdMap | undefined;
  readonly #places = new Map<Inode, Place>();
  readonly #forgotten = new LRUCache<Inode, Place>({ max: forgottenPlaces });
  readonly #devices: string[] = [];

  constructor(store: StoreFolder, descriptor: number, idMap: IdMap | undefined) {
    this.#store = store;
    this.#descriptor = descriptor;
    this.#idMap = idMap;
    this.root = this.#inodeOf(statOpen(descriptor));
    this.#places.set(this.root, rootPlace);
  }

  async lookup(folder: Inode, name: Name, signal: AbortSignal): Promise<Found> {
    const at = this.#place(folder);
    const place = name === '..' ? (at.folder ?? at) : { folder: at, name };
    try {
      const attributes = await this.#named(place, signal, async (_descriptor, status) =>
        this.#attributesOf(status),
      );
      this.#remember(attributes.inode, place);
      return { attributes, freshSeconds: forEver };
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return { freshSeconds: forEver };
      throw error;
    }
  }

  attributes(inode: Inode, signal: AbortSignal): Promise<Attributes> {
    return this.#file(inode, signal, async (_descriptor, status) => this.#attributesOf(status));
  }

  /** Attributes come with the entries: one wait in the pool for many, instead of one for each when they are asked for. */
  async list(inode: Inode, after: bigint, signal: AbortSignal): Promise<readonly Entry[]> {
    const at = this.#place(inode);
    const flags = constants.O_RDONLY | constants.O_DIRECTORY;
    const descriptor = await openPlace(this.#descriptor, this.#store.depth, at, flags, signal);
    try {
      if (this.#inodeOf(statOpen(descriptor)) !== inode) throw this.#replaced(at);
      const position = after === 0n ? 0n : after - 1n;
      const rows = await this.#store.depth.run(() => readDirectory(descriptor, position), signal);
      const shown = rows.filter(({ name }) => name !== '.' && name !== '..');
      const entries = await Promise.all(
        shown.map(async ({ name, next }): Promise<Entry | undefined> => {
          try {
            const status = await this.#store.depth.run(() => statIn(descriptor, name), signal);
            const attributes = this.#attributesOf(status);
            this.#remember(attributes.inode, { folder: at, name });
            const found = { attributes, freshSeconds: forEver };
            return { name, inode: attributes.inode, type: attributes.type, cookie: cookieOf(next), found };
          } catch (error) {
            if (hasCode(error, 'ENOENT')) return undefined;
            throw error;
          }
        }),
      );
      const present = entries.filter((entry) => entry !== undefined);
      const last = rows.at(-1);
      // A piece of nothing but `.` and `..`, or of names that went away, is not the end.
      return present.length > 0 || !last ? present : await this.list(inode, cookieOf(last.next), signal);
    } finally {
      closeLate(descriptor);
    }
  }

  readlink(inode: Inode, signal: AbortSignal): Promise<Uint8Array> {
    return this.#file(inode, signal, (descriptor) => readSymlink(descriptor));
  }

  xattr(inode: Inode, name: Name, signal: AbortSignal): Promise<Uint8Array> {
    return this.#file(inode, signal, async (descriptor) => {
      const value = await this.#store.depth.run(() => getXattr(descriptor, name), signal);
      if (!this.#idMap) return value;
      if (name === 'security.capability') return capabilityInside(this.#idMap, value);
      return name.startsWith('system.posix_acl_') ? aclInside(this.#idMap, value) : value;
    });
  }

  xattrs(inode: Inode, signal: AbortSignal): Promise<readonly Name[]> {
    return this.#file(inode, signal, (descriptor) =>
      this.#store.depth.run(() => listXattrs(descriptor), signal),
    );
  }

  async open(inode: Inode, access: Access, signal: AbortSignal): Promise<Opened> {
    const place = this.#place(inode);
    if (access !== 'read')
      throw new StillError('EROFS', `${this.#text(place)} is part of a backup; it can't be written`);
    // A device or a fifo must not even be opened; what is opened is the file that was looked at.
    const descriptor = await this.#file(inode, signal, async (named, { type }) => {
      if (type !== 'file')
        throw new StillError('EINVAL', `${this.#text(place)} is a ${type}; only files can be read`);
      return this.#store.depth.run(() => openNamed(named), signal, closeLate);
    });
    return { handle: descriptor, cache: 'keep', passthrough: descriptor };
  }

  async read(handle: number, offset: number, target: Uint8Array, signal: AbortSignal): Promise<number> {
    let done = readCached(handle, offset, target);
    while (done < target.byteLength) {
      const rest = target.subarray(done);
      const length = await this.#store.depth.run(() => readAt(handle, rest, offset + done), signal);
      if (length === 0) break;
      done += length;
    }
    return done;
  }

  seek(handle: number, offset: number, wanted: 'data' | 'hole', signal: AbortSignal): Promise<number> {
    return this.#store.depth.run(() => seek(handle, offset, wanted), signal);
  }

  async release(handle: number): Promise<void> {
    closeLate(handle);
  }

  forget(inode: Inode): void {
    const place = this.#places.get(inode);
    if (!place || place === rootPlace) return;
    this.#places.delete(inode);
    this.#forgotten.set(inode, place);
  }

  capacity(signal: AbortSignal): Promise<Capacity> {
    const path = `/proc/self/fd/${this.#descriptor}`;
    const ask = (): Promise<Capacity> =>
      new Promise((resolve, reject) => {
        statfs(path, (error, { blocks, bfree, bsize, files }) =>
          error ? reject(error) : resolve({ total: blocks * bsize, free: bfree * bsize, files }),
        );
      });
    return this.#store.depth.run(ask, signal);
  }

  async close(): Promise<void> {
    closeLate(this.#descriptor);
  }

  #place(inode: Inode): Place {
    const place = this.#places.get(inode) ?? this.#forgotten.get(inode);
    if (!place) throw new StillError('ESTALE', `inode ${inode} of ${this.#store.path} was forgotten`);
    return place;
  }

  #remember(inode: Inode, place: Place): void {
    if (!this.#places.has(inode)) this.#places.set(inode, place);
  }

  /** Names the file of an inode, and makes sure that it is still that file. */
  async #file<T>(
    inode: Inode,
    signal: AbortSignal,
    use: (descriptor: number, status: FileStatus) => Promise<T>,
  ): Promise<T> {
    const place = this.#place(inode);
    return this.#named(place, signal, async (descriptor, status) => {
      if (this.#inodeOf(status) !== inode) throw this.#replaced(place);
      return use(descriptor, status);
    });
  }

  async #named<T>(
    place: Place,
    signal: AbortSignal,
    use: (descriptor: number, status: FileStatus) => Promise<T>,
  ): Promise<T> {
    const descriptor = await openPlace(this.#descriptor, this.#store.depth, place, O_PATH, signal);
    try {
      return await use(descriptor, statOpen(descriptor));
    } finally {
      closeNamed(descriptor);
    }
  }

  /** The host's inode number; what lies on another file system mounted inside gets that one's place in the upper byte. */
  #inodeOf({ inode, on }: FileStatus): Inode {
    const device = `${on.major}:${on.minor}`;
    let index = this.#devices.indexOf(device);
    if (index < 0) index = this.#devices.push(device) - 1;
    return inode ^ (BigInt(index) << 56n);
  }

  #attributesOf(status: FileStatus): Attributes {
    const { type, permissions, links, size, allocated, accessed, modified, changed, device } = status;
    const isDevice = type === 'block' || type === 'character';
    return {
      inode: this.#inodeOf(status),
      type,
      permissions,
      links,
      uid: this.#idMap ? idInside(this.#idMap, status.uid) : status.uid,
      gid: this.#idMap ? idInside(this.#idMap, status.gid) : status.gid,
      size,
      allocated,
      accessed,
      modified,
      changed,
      freshSeconds: forEver,
      ...(isDevice && { device }),
    };
  }

  #replaced(place: Place): StillError {
    return new StillError(
      'ESTALE',
      `${this.#text(place)} is not the file any more that was found there; look again`,
    );
  }

  #text(place: Place): string {
    const names: string[] = [];
    for (let at: Place | undefined = place; at?.folder; at = at.folder) names.unshift(nameToText(at.name));
    return `${this.#store.path}/…/${names.join('/')}`;
  }
}

/** The position after a row as a cookie: not 0, and below the two that are the mount's (ext4 ends at 2^63-1). */
function cookieOf(position: bigint): bigint {
  return position >= 2n ** 63n - 1n ? 2n ** 63n - 1n : position + 1n;
}

function openNamed(named: number): Promise<number> {
  const path = `/proc/self/fd/${named}`;
  return new Promise((resolve, reject) => {
    open(path, constants.O_RDONLY | O_NOATIME, (error, descriptor) => {
      if (!error) resolve(descriptor);
      // Only the owner and root may leave the access time alone.
      else if (hasCode(error, 'EPERM'))
        open(path, constants.O_RDONLY, (second, other) => (second ? reject(second) : resolve(other)));
      else reject(error);
    });
  });
}

function readAt(descriptor: number, target: Uint8Array, offset: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(descriptor, target, 0, target.byteLength, offset, (error, length) =>
      error ? reject(error) : resolve(length),
    );
  });
}
