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
/** Others (security descriptors, object ids, logs) are passed over. */
const isRead: readonly boolean[] = Array.from({ length: 0x101 }, (_, type) =>
  (Object.values(attributeTypes) as number[]).includes(type),
);
const end = 0xffff_ffff;
const smallest = 24;
const smallestNonResident = 64;
const flagsOf = { compression: 0x00ff, encrypted: 0x4000, sparse: 0x8000 } as const;

export interface ValueSizes {
  /** Bytes that take up room. */
  readonly allocated: number;
  readonly size: number;
  /** What follows was never written, and reads as zeros. */
  readonly initialized: number;
}

/** An attribute with its value beside it. */
export class ResidentAttribute {
  readonly resident = true;

  /** `instance` tells attributes of one record apart. `name`: UTF-16 as it is stored; empty for the one without a name. */
  constructor(
    readonly type: number,
    readonly name: string,
    readonly instance: number,
    readonly length: number,
    private readonly record: Buffer,
    private readonly from: number,
  ) {}

  get value(): Buffer {
    return this.record.subarray(this.from, this.from + this.length);
  }

  /** A byte of the value; 0 beyond its end. */
  byte(at: number): number {
    return at < this.length ? (this.record[this.from + at] ?? 0) : 0;
  }
}

/** An attribute with its value, or a part of it, in clusters elsewhere. */
export interface NonResidentAttribute {
  readonly resident: false;
  readonly type: number;
  readonly name: string;
  readonly instance: number;
  /** The clusters of the value that this part tells of. `last` is below `first` where there are none. */
  readonly first: number;
  readonly last: number;
  /** Told by the first part alone. */
  readonly sizes: ValueSizes | undefined;
  /** 0: none. 1: LZNT1. */
  readonly compression: number;
  /** Clusters that are compressed together; 1 where none are. */
  readonly unitClusters: number;
  readonly encrypted: boolean;
  /** Where the clusters lie, ./runs.ts: a part of the record. */
  readonly mappingPairs: { readonly record: Buffer; readonly from: number; readonly to: number };
}

export type Attribute = ResidentAttribute | NonResidentAttribute;

/** Reads the attributes that lie in a record from `from` to `to`. EIO: they are damaged. */
export function parseAttributes(record: Buffer, from: number, to: number, owner: number): Attribute[] {
  const attributes: Attribute[] = [];
  for (let at = from; at + 4 <= to; ) {
    const type = record.readUInt32LE(at);
    if (type === end) return attributes;
    const length = at + smallest <= to ? record.readUInt32LE(at + 4) : 0;
    if (length < smallest || length % 8 !== 0 || length > to - at)
      throw damaged(owner, type, `it has ${length} bytes`);
    if (isRead[type]) attributes.push(parseAttribute(record, at, length, type, owner));
    at += length;
  }
  throw new StillError('EIO', `MFT record ${owner} is damaged: its attributes have no end`);
}

// ntfs-3g's layout.h: struct ATTR_RECORD
function parseAttribute(record: Buffer, at: number, length: number, type: number, owner: number): Attribute {
  const name = nameOf(record, at, length, type, owner);
  if (record[at + 8] !== 0) return parseNonResident(record, at, length, type, name, owner);
  const valueLength = record.readUInt32LE(at + 16);
  const place = record.readUInt16LE(at + 20);
  if (valueLength > length - place)
    throw damaged(owner, type, `its value of ${valueLength} bytes is at ${place}`);
  return new ResidentAttribute(type, name, record.readUInt16LE(at + 14), valueLength, record, at + place);
}

function parseNonResident(
  record: Buffer,
  at: number,
  length: number,
  type: number,
  name: string,
  owner: number,
): NonResidentAttribute {
  if (length < smallestNonResident) throw damaged(owner, type, `it has ${length} bytes`);
  const flags = record.readUInt16LE(at + 12);
  const compression = flags & flagsOf.compression;
  const first = size64(record, at + 16);
  const last = integer64(record, at + 24);
  const pairs = record.readUInt16LE(at + 32);
  const unit = record[at + 34] ?? 0;
  if (!(pairs >= smallestNonResident && pairs <= length && last >= first - 1 && unit <= 16))
    throw damaged(owner, type, `its clusters ${first} to ${last}, in units of 2^${unit}, are at ${pairs}`);
  let sizes: ValueSizes | undefined;
  if (first === 0) {
    const size = size64(record, at + 48);
    const initialized = size64(record, at + 56);
    // Where some of the value has no clusters, one more field tells how much takes up room.
    const isPartly = (compression !== 0 || (flags & flagsOf.sparse) !== 0) && pairs >= 72;
    const allocated = size64(record, at + (isPartly ? 64 : 40));
    if (!(size >= 0 && initialized >= 0 && allocated >= 0))
      throw damaged(owner, type, `its sizes are ${size}, ${initialized} and ${allocated}`);
    sizes = { size, initialized: Math.min(initialized, size), allocated };
  }
  return {
    resident: false,
    type,
    name,
    instance: record.readUInt16LE(at + 14),
    first,
    last,
    sizes,
    compression,
    unitClusters: 2 ** unit,
    encrypted: (flags & flagsOf.encrypted) !== 0,
    mappingPairs: { record, from: at + pairs, to: at + length },
  };
}

function nameOf(record: Buffer, at: number, length: number, type: number, owner: number): string {
  const bytes = 2 * (record[at + 9] ?? 0);
  if (bytes === 0) return '';
  const place = record.readUInt16LE(at + 10);
  if (place + bytes > length) throw damaged(owner, type, `its name is at ${place}`);
  return record.toString('utf16le', at + place, at + place + bytes);
}

function damaged(owner: number, type: number, how: string): StillError {
  return new StillError('EIO', `attribute 0x${type.toString(16)} of MFT record ${owner} is damaged: ${how}`);
}
