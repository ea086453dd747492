import type { FileStatus } from '../../posix/statx.js';
import type { Attributes, Inode } from '../../tree/attributes.js';
import { type IdMap, idInside } from '../id-map.js';

/** The attributes of a folder's files as they are shown. */
export class ShownAttributes {
  readonly #users: IdMap | undefined;
  readonly #groups: IdMap | undefined;
  readonly #freshSeconds: number;

  /** `freshSeconds`: how long they hold; as long as the mount where the files are a backup's, which is never modified. */
  constructor(users: IdMap | undefined, groups: IdMap | undefined, freshSeconds: number) {
    this.#users = users;
    this.#groups = groups;
    this.#freshSeconds = freshSeconds;
  }

  of(inode: Inode, status: FileStatus): Attributes {
    const { type, permissions, links, size, allocated, accessed, modified, changed, device } = status;
    return {
      inode,
      type,
      permissions,
      links,
      uid: idInside(this.#users, status.uid),
      gid: idInside(this.#groups, status.gid),
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
