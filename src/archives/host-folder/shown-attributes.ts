import { type IdMaps, idInside } from '../../id-map.js';
import type { FileStatus } from '../../posix/statx.js';
import type { Attributes, Inode } from '../../tree/attributes.js';

/** The attributes of a folder's files as they are shown. */
export class ShownAttributes {
  readonly #ids: IdMaps;
  readonly #freshSeconds: number;

  /** `freshSeconds`: how long they hold; as long as the mount where the files are a backup's, which is never modified. */
  constructor(ids: IdMaps, freshSeconds: number) {
    this.#ids = ids;
    this.#freshSeconds = freshSeconds;
  }

  of(inode: Inode, status: FileStatus): Attributes {
    const { type, permissions, links, size, allocated, accessed, modified, changed, device } = status;
    return {
      inode,
      type,
      permissions,
      links,
      uid: idInside(this.#ids.users, status.uid),
      gid: idInside(this.#ids.groups, status.gid),
      ...((type === 'block' || type === 'character') && { device }),
      size,
      allocated,
      accessed,
      modified,
      changed,
      freshSeconds: this.#freshSeconds,
    };
  }
}
