import type { FileStatus } from '../../posix/statx.js';
import type { Attributes, Inode } from '../../tree/attributes.js';
import { type IdMap, idInside } from '../id-map.js';

/** A file's attributes as they are shown. They hold as long as the mount: a backup is never modified. */
export function shownAttributes(inode: Inode, status: FileStatus, map: IdMap | undefined): Attributes {
  const { type, permissions, links, size, allocated, accessed, modified, changed, device } = status;
  return {
    inode,
    type,
    permissions,
    links,
    uid: idInside(map, status.uid),
    gid: idInside(map, status.gid),
    ...((type === 'block' || type === 'character') && { device }),
    size,
    allocated,
    accessed,
    modified,
    changed,
    freshSeconds: Number.POSITIVE_INFINITY,
  };
}
