import { StillError } from '../../errors.js';
import type { Name } from '../../name.js';
import { nameAt } from './folder-entry.js';
import type { Superblock } from './superblock.js';

// struct xfs_attr_shortform, xfs_attr_leaf_hdr and xfs_attr3_leaf_hdr of linux/fs/xfs/libxfs/xfs_da_format.h
const shortHeader = 4;
const shortEntry = 3;
const leafEntry = 8;
const leafMagics = new Set([0xfbee, 0x3bee]);

/** XFS_ATTR_*: where an attribute's value is, to whom it belongs, what it is for. */
const flag = { local: 1, trusted: 2, security: 4, parent: 8, incomplete: 0x80 } as const;
/** Values have at most 2^16 bytes. */
const longestValue = 65536;

export type AttributeSpace = 'user' | 'trusted' | 'security';

interface AttributeHead {
  readonly space: AttributeSpace;
  readonly name: Name;
}

/** An attribute: with its value, or where that is. */
export type AttributeRow =
  | (AttributeHead & { readonly value: Buffer })
  /** `block`: its first one in the attribute fork. `length`: bytes. */
  | (AttributeHead & { readonly value?: undefined; readonly block: number; readonly length: number });

/** The attributes that are held in the inode. EIO: they are damaged. */
export function parseShortAttributes(bytes: Buffer, inode: number): AttributeRow[] {
  const rows: AttributeRow[] = [];
  const end = bytes.length >= shortHeader ? bytes.readUInt16BE(0) : 0;
  if (end < shortHeader || end > bytes.length) throw damaged(inode, `${end} bytes of them in the inode`);
  let at = shortHeader;
  for (let left = bytes.readUInt8(2); left > 0; left--) {
    const nameFrom = at + shortEntry;
    const nameLength = nameFrom <= end ? bytes.readUInt8(at) : 0;
    const valueFrom = nameFrom + nameLength;
    const valueEnd = nameFrom <= end ? valueFrom + bytes.readUInt8(at + 1) : 0;
    if (nameLength === 0 || valueEnd > end) throw damaged(inode, `the entry at ${at} does not fit`);
    const space = spaceOf(bytes.readUInt8(at + 2));
    if (space)
      rows.push({
        space,
        name: nameAt(bytes, nameFrom, nameLength),
        value: bytes.subarray(valueFrom, valueEnd),
      });
    at = valueEnd;
  }
  return rows;
}

/** The attributes of a leaf block. EIO: it is damaged. */
export function parseAttributeLeaf(bytes: Buffer, inode: number, { version }: Superblock): AttributeRow[] {
  const [countAt, header] = version === 5 ? [56, 80] : [12, 32];
  if (!leafMagics.has(bytes.readUInt16BE(8))) throw damaged(inode, 'a block is no leaf');
  const count = bytes.readUInt16BE(countAt);
  const namesFrom = header + count * leafEntry;
  if (namesFrom > bytes.length) throw damaged(inode, `a leaf has ${count} entries`);
  const rows: AttributeRow[] = [];
  for (let index = 0; index < count; index++) {
    const entry = header + index * leafEntry;
    const flags = bytes.readUInt8(entry + 6);
    const space = spaceOf(flags);
    if (!space) continue;
    const at = bytes.readUInt16BE(entry + 4);
    const isLocal = (flags & flag.local) !== 0;
    const nameFrom = at + (isLocal ? 3 : 9);
    const nameLength = at >= namesFrom && nameFrom <= bytes.length ? bytes.readUInt8(nameFrom - 1) : 0;
    const nameEnd = nameFrom + nameLength;
    if (nameLength === 0 || nameEnd > bytes.length) throw damaged(inode, `the entry at ${at} does not fit`);
    const head = { space, name: nameAt(bytes, nameFrom, nameLength) };
    const length = isLocal ? bytes.readUInt16BE(at) : bytes.readUInt32BE(at + 4);
    if (isLocal) {
      if (nameEnd + length > bytes.length) throw damaged(inode, `a value of ${length} bytes at ${nameEnd}`);
      rows.push({ ...head, value: bytes.subarray(nameEnd, nameEnd + length) });
    } else {
      if (length > longestValue) throw damaged(inode, `a value of ${length} bytes`);
      rows.push({ ...head, block: bytes.readUInt32BE(at), length });
    }
  }
  return rows;
}

/** Undefined: Linux does not show it. It is half made, or tells where the file is (`parent`). */
function spaceOf(flags: number): AttributeSpace | undefined {
  if ((flags & (flag.parent | flag.incomplete)) !== 0) return undefined;
  if ((flags & flag.trusted) !== 0) return 'trusted';
  return (flags & flag.security) !== 0 ? 'security' : 'user';
}

function damaged(inode: number, how: string): StillError {
  return new StillError('EIO', `the attributes of inode ${inode} are damaged: ${how}`);
}
