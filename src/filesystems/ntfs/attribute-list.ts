import { StillError } from '../../errors.js';
import { size64 } from './integers.js';
import { type FileReference, fileReference } from './mft-record.js';

// ntfs-3g's layout.h: struct ATTR_LIST_ENTRY
const smallest = 26;
/** As much as Windows can map. */
export const mostListBytes = 256 * 1024;

/** Where an attribute, or a part of one, of a file with many of them is. */
export interface ListedAttribute {
  readonly type: number;
  readonly name: string;
  /** The first cluster of the value that this part tells of. */
  readonly first: number;
  readonly holder: FileReference;
  readonly instance: number;
}

/** Reads the value of an attribute list. EIO: it is damaged. */
export function parseAttributeList(bytes: Buffer, owner: number): ListedAttribute[] {
  const listed: ListedAttribute[] = [];
  for (let at = 0; at + smallest <= bytes.length; ) {
    const length = bytes.readUInt16LE(at + 4);
    const nameBytes = 2 * bytes.readUInt8(at + 6);
    const name = at + bytes.readUInt8(at + 7);
    const first = size64(bytes, at + 8);
    const hasName = nameBytes === 0 || name + nameBytes <= at + length;
    if (length < smallest || length > bytes.length - at || !hasName || Number.isNaN(first))
      throw new StillError(
        'EIO',
        `the attribute list of MFT record ${owner} is damaged: ${length} bytes, and a name of ${nameBytes}, at ${at}`,
      );
    listed.push({
      type: bytes.readUInt32LE(at),
      name: nameBytes === 0 ? '' : bytes.toString('utf16le', name, name + nameBytes),
      first,
      holder: fileReference(bytes, at + 16),
      instance: bytes.readUInt16LE(at + 24),
    });
    at += length;
  }
  return listed;
}
