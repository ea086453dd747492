import { StillError } from '../../errors.js';
import { integer64, size64 } from './integers.js';

/** Kinds of attributes, ntfs-3g's layout.h: enum ATTR_TYPES. */
export const attributeTypes = {
  standardInformation: 0x10,
  attributeList: 0x20,
  fileName: 0x30,
  volumeName: 0x60,
  volumeInformation: 0x70,
  data: 0x80,
  indexRoot: 0x90,
  indexAllocation: 0xa0,
  bitmap: 0xb0,
  reparsePoint: 0xc0,
  extendedAttributes: 0xe0,
} as const;
const end = 0xffff_ffff;
const smallest = 24;
const smallestNonResident = 64;
const flagsOf = { compression: 0x00ff, encrypted: 0x4000, sparse: 0x8000 } as const;

interface AnyAttribute {
  readonly type: number;
  /** UTF-16 as it is stored; empty for the attribute without a name. */
  readonly name: string;
  /** Tells attributes of one record apart. */
  readonly instance: number;
  /** 0: not compressed. 1: LZNT1. */
  readonly compression: number;
  readonly encrypted: boolean;
}

/** An attribute with its value beside it. */
export interface ResidentAttribute extends AnyAttribute {
  readonly resident: true;
  readonly value: Buffer;
}

/** An attribute with its value, or a part of it, in clusters elsewhere. */
export interface NonResidentAttribute extends AnyAttribute {
  readonly resident: false;
  /** The clusters of the value that this part tells of. `last` is below `first` where there are none. */
  readonly first: number;
  readonly last: number;
  /** Where they lie: ./runs.ts. */
  readonly mappingPairs: Buffer;
  readonly sparse: boolean;
  /** Clusters that are compressed together; 1 where none are. */
  readonly unitClusters: number;
  /** Bytes; told by the first part alone. */
  readonly sizes: ValueSizes | undefined;
}

export interface ValueSizes {
  /** Bytes that take up room. */
  readonly allocated: number;
  readonly size: number;
  /** What follows was never written, and reads as zeros. */
  readonly initialized: number;
}

export type Attribute = ResidentAttribute | NonResidentAttribute;

/** Reads the attributes that lie in a record from `from` to `to`. EIO: they are damaged. */
export function parseAttributes(bytes: Buffer, from: number, to: number, owner: number): Attribute[] {
  const attributes: Attribute[] = [];
  for (let at = from; at + 4 <= to; ) {
    const type = bytes.readUInt32LE(at);
    if (type === end) return attributes;
    const length = at + smallest <= to ? bytes.readUInt32LE(at + 4) : 0;
    if (length < smallest || length % 8 !== 0 || length > to - at)
      throw damaged(owner, type, `it has ${length} bytes`);
    attributes.push(parseAttribute(bytes.subarray(at, at + length), type, owner));
    at += length;
  }
  throw new StillError('EIO', `MFT record ${owner} is damaged: its attributes have no end`);
}

// ntfs-3g's layout.h: struct ATTR_RECORD
function parseAttribute(bytes: Buffer, type: number, owner: number): Attribute {
  const flags = bytes.readUInt16LE(12);
  const common = {
    type,
    name: nameOf(bytes, type, owner),
    instance: bytes.readUInt16LE(14),
    compression: flags & flagsOf.compression,
    encrypted: (flags & flagsOf.encrypted) !== 0,
  };
  if (bytes.readUInt8(8) !== 0) return parseNonResident(bytes, common, (flags & flagsOf.sparse) !== 0, owner);
  const length = bytes.readUInt32LE(16);
  const place = bytes.readUInt16LE(20);
  if (length > bytes.length - place)
    throw damaged(owner, type, `its value of ${length} bytes is at ${place}`);
  return { ...common, resident: true, value: bytes.subarray(place, place + length) };
}

function parseNonResident(
  bytes: Buffer,
  common: AnyAttribute,
  sparse: boolean,
  owner: number,
): NonResidentAttribute {
  const { type, compression } = common;
  if (bytes.length < smallestNonResident) throw damaged(owner, type, `it has ${bytes.length} bytes`);
  const what = `a size in MFT record ${owner}`;
  const first = size64(bytes, 16, what);
  const last = integer64(bytes, 24, what);
  const pairs = bytes.readUInt16LE(32);
  const unit = bytes.readUInt8(34);
  if (pairs < smallestNonResident || pairs > bytes.length || last < first - 1 || unit > 16)
    throw damaged(owner, type, `its clusters ${first} to ${last}, in units of 2^${unit}, are at ${pairs}`);
  return {
    ...common,
    resident: false,
    first,
    last,
    mappingPairs: bytes.subarray(pairs),
    sparse,
    unitClusters: 2 ** unit,
    sizes: first === 0 ? sizesOf(bytes, sparse || compression !== 0, pairs, what) : undefined,
  };
}

function sizesOf(bytes: Buffer, withStored: boolean, pairs: number, what: string): ValueSizes {
  const size = size64(bytes, 48, what);
  // Where some of the value has no clusters, one more field tells how much takes up room.
  const allocated = size64(bytes, withStored && pairs >= 72 ? 64 : 40, what);
  return { allocated, size, initialized: Math.min(size64(bytes, 56, what), size) };
}

function nameOf(bytes: Buffer, type: number, owner: number): string {
  const length = 2 * bytes.readUInt8(9);
  if (length === 0) return '';
  const place = bytes.readUInt16LE(10);
  if (place + length > bytes.length) throw damaged(owner, type, `its name is at ${place}`);
  return bytes.toString('utf16le', place, place + length);
}

function damaged(owner: number, type: number, how: string): StillError {
  return new StillError('EIO', `attribute 0x${type.toString(16)} of MFT record ${owner} is damaged: ${how}`);
}
