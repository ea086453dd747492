import { StillError } from '../../errors.js';
import type { Inode } from '../../tree/attributes.js';
import { nameAt, type StoredEntry, typeOf } from './folder-entry.js';

/** A folder that is held in its inode (`shortform`): struct xfs_dir2_sf_hdr and xfs_dir2_sf_entry. */
export interface ShortFolder {
  readonly parent: Inode;
  readonly entries: readonly StoredEntry[];
}

/** EIO: it is damaged. */
export function parseShortFolder(bytes: Buffer, inode: number, hasTypes: boolean): ShortFolder {
  const fault = (how: string): StillError => new StillError('EIO', `folder ${inode} is damaged: ${how}`);
  if (bytes.length < 6) throw fault(`its ${bytes.length} bytes are too few`);
  const hasWideNumbers = bytes.readUInt8(1) > 0;
  const numberBytes = hasWideNumbers ? 8 : 4;
  // Where there are wide numbers, all are wide, and the first count is that of all entries.
  const count = bytes.readUInt8(0);
  if (bytes.length < 2 + numberBytes) throw fault(`its ${bytes.length} bytes are too few`);
  const numberAt = (at: number): Inode =>
    hasWideNumbers ? bytes.readBigUInt64BE(at) : BigInt(bytes.readUInt32BE(at));
  const entries: StoredEntry[] = [];
  let at = 2 + numberBytes;
  for (let left = count; left > 0; left--) {
    const length = at < bytes.length ? bytes.readUInt8(at) : 0;
    const typeAt = at + 3 + length;
    const inodeAt = typeAt + (hasTypes ? 1 : 0);
    if (length === 0 || inodeAt + numberBytes > bytes.length) throw fault(`its entry at ${at} does not fit`);
    entries.push({
      name: nameAt(bytes, at + 3, length),
      inode: numberAt(inodeAt),
      type: hasTypes ? typeOf(bytes.readUInt8(typeAt)) : undefined,
    });
    at = inodeAt + numberBytes;
  }
  return { parent: numberAt(2), entries };
}
