import { StillError } from '../../errors.js';
import { type Attribute, attributeTypes, type ResidentAttribute } from './attribute.js';
import type { FileAttributes } from './file-attributes.js';
import { isDosName } from './file-name.js';
import { chunksStream } from './system-compression.js';

// ntfs-3g's layout.h: struct STANDARD_INFORMATION
const standardInformationBytes = 36;
const types = attributeTypes;
const needed: ReadonlySet<number> = new Set([
  types.standardInformation,
  types.fileName,
  types.data,
  types.indexAllocation,
  types.extendedAttributes,
]);

/** What tells of a file as a whole: its attributes, or their first parts. */
export interface Essentials {
  readonly file: FileAttributes;
  readonly standard: ResidentAttribute;
  /** enum FILE_ATTR_FLAGS. */
  readonly flags: number;
  /** Its names; one for DOS stands beside another. */
  readonly names: number;
  readonly data: Attribute | undefined;
  /** The blocks of a folder's index. */
  readonly blocks: Attribute | undefined;
  readonly hasStreams: boolean;
  readonly hasExtendedAttributes: boolean;
}

/** EIO: the file is damaged. */
export async function essentialsOf(file: FileAttributes, signal: AbortSignal): Promise<Essentials> {
  return essentialsIn(file, await file.firstParts(needed, signal));
}

/** The same, of attributes that were read before. */
export function essentialsIn(file: FileAttributes, attributes: readonly Attribute[]): Essentials {
  let standard: ResidentAttribute | undefined;
  let data: Attribute | undefined;
  let blocks: Attribute | undefined;
  let names = 0;
  let hasStreams = false;
  let hasExtendedAttributes = false;
  for (const each of attributes) {
    if (each.type === types.standardInformation && each.resident) standard ??= each;
    else if (each.type === types.fileName && each.resident) names += isDosName(each) ? 0 : 1;
    else if (each.type === types.data && each.name === '') data ??= each;
    else if (each.type === types.data) hasStreams ||= each.name !== chunksStream;
    else if (each.type === types.indexAllocation) blocks ??= each;
    else if (each.type === types.extendedAttributes) hasExtendedAttributes = true;
  }
  if (!standard || standard.length < standardInformationBytes)
    throw new StillError(
      'EIO',
      `MFT record ${file.record.number} is damaged: it has no standard information`,
    );
  const flags = standard.value.readUInt32LE(32);
  return { file, standard, flags, names, data, blocks, hasStreams, hasExtendedAttributes };
}

export interface Sizes {
  readonly size: number;
  /** Bytes that take up room. */
  readonly allocated: number;
}

/** Those of a value, as ntfs-3g shows them. */
export function sizesOf(attribute: Attribute | undefined): Sizes {
  if (!attribute) return { size: 0, allocated: 0 };
  if (!attribute.resident) return attribute.sizes ?? { size: 0, allocated: 0 };
  return { size: attribute.length, allocated: Math.ceil(attribute.length / 8) * 8 };
}
