import { LRUCache } from 'lru-cache';
import { StillError } from '../../errors.js';
import type { IdMaps } from '../../id-map.js';
import { type Name, nameToText } from '../../name.js';
import { getXattr, listXattrs } from '../../posix/xattr.js';
import { posixAclInside } from '../../posix-acl.js';
import type { Inode } from '../../tree/attributes.js';
import { fileCapabilityInside } from '../capability.js';

/** Calls with a descriptor that names the file, in its turn. */
export type WithFile = <T>(call: (descriptor: number) => Promise<T>) => Promise<T>;

const mostRemembered = 4096;
const noNames: readonly Name[] = [];

/**
 * The extended attributes of files. A file system may read the disk for them even if the file's inode is in memory, so
 * they are asked for in the pool. Most files have none and programs ask for several one by one (capability, two ACLs),
 * so the names are asked for first, once, and answer for what is not there.
 */
export class ExtendedAttributes {
  readonly #names = new LRUCache<Inode, readonly Name[]>({ max: mostRemembered });
  readonly #ids: IdMaps;
  readonly #remembers: boolean;

  /** `remembers`: the names of a file's attributes stay the same. */
  constructor(ids: IdMaps, remembers: boolean) {
    this.#ids = ids;
    this.#remembers = remembers;
  }

  async names(inode: Inode, withFile: WithFile): Promise<readonly Name[]> {
    const known = this.#names.get(inode);
    if (known) return known;
    const names = await withFile(listXattrs);
    if (this.#remembers) this.#names.set(inode, names.length === 0 ? noNames : names);
    return names;
  }

  async value(inode: Inode, name: Name, withFile: WithFile): Promise<Uint8Array> {
    const names = await this.names(inode, withFile);
    if (!names.includes(name)) {
      throw new StillError('ENODATA', `inode ${inode} has no attribute ${nameToText(name)}`);
    }
    return this.#shown(name, await withFile((descriptor) => getXattr(descriptor, name)));
  }

  forget(inode: Inode): void {
    this.#names.delete(inode);
  }

  #shown(name: Name, value: Uint8Array): Uint8Array {
    const { users, groups } = this.#ids;
    if (name === 'security.capability') return users ? fileCapabilityInside(value, users) : value;
    const isAcl = name === 'system.posix_acl_access' || name === 'system.posix_acl_default';
    return isAcl && (users || groups) ? posixAclInside(value, this.#ids) : value;
  }
}
