import type { Name } from '../../name.js';
import type { Time } from '../../time.js';
import { dosTime } from '../dos-time.js';
import { nameFromUtf16 } from '../utf16-name.js';

// exFAT specification, 6 "Directory Structure" and 7 "Directory Entry Definitions"
export const entryBytes = 32;
export const entryType = { end: 0x00, label: 0x83, file: 0x85, stream: 0xc0, name: 0xc1 } as const;
/** Set in the types of those that are in use. */
export const inUse = 0x80;
/** Set in the types of those that follow another one. */
export const secondary = 0x40;
const fewestSecondaries = 2;
const mostSecondaries = 18;
export const mostSetBytes = (mostSecondaries + 1) * entryBytes;
const attributeOf = { readOnly: 0x01, folder: 0x10 } as const;
const flagOf = { noFatChain: 0x02 } as const;
const namePlace = { from: 2, to: 32 } as const;

/** A file, as its entries in a folder tell of it. Sizes are bytes. */
export interface FileEntry {
  readonly name: Name;
  readonly isFolder: boolean;
  readonly isReadOnly: boolean;
  readonly accessed: Time;
  readonly modified: Time;
  readonly size: bigint;
  /** So much was written; the rest reads as zeros. */
  readonly validSize: bigint;
  readonly firstCluster: number;
  /** Whether its clusters follow one another, so that the table says nothing of them. */
  readonly isContiguous: boolean;
}

/** How many bytes a set has whose first entry this is; undefined where it is none of a file's. */
export function setBytes(bytes: Buffer, at = 0): number | undefined {
  if (bytes[at] !== entryType.file) return undefined;
  const secondaries = bytes[at + 1] ?? 0;
  if (secondaries < fewestSecondaries || secondaries > mostSecondaries) return undefined;
  return (secondaries + 1) * entryBytes;
}

export function isFolderEntry(bytes: Buffer, at: number): boolean {
  return bytes[at] === entryType.file && (bytes.readUInt16LE(at + 4) & attributeOf.folder) !== 0;
}

/** Reads a set of entries. Undefined: it is damaged. */
export function parseSet(bytes: Buffer): FileEntry | undefined {
  if (bytes[entryBytes] !== entryType.stream || checksumOf(bytes) !== bytes.readUInt16LE(2)) return undefined;
  const attributes = bytes.readUInt16LE(4);
  const stream = bytes.subarray(entryBytes, 2 * entryBytes);
  const units = stream[3] ?? 0;
  let text = '';
  for (let at = 2 * entryBytes; at < bytes.length && bytes[at] === entryType.name; at += entryBytes)
    text += bytes.toString('utf16le', at + namePlace.from, at + namePlace.to);
  if (units === 0 || text.length < units) return undefined;
  const size = stream.readBigUInt64LE(24);
  const validSize = stream.readBigUInt64LE(8);
  if (validSize > size) return undefined;
  return {
    name: nameFromUtf16(text.slice(0, units)),
    isFolder: (attributes & attributeOf.folder) !== 0,
    isReadOnly: (attributes & attributeOf.readOnly) !== 0,
    accessed: timeAt(bytes, 16, 0, 24),
    modified: timeAt(bytes, 12, bytes[21] ?? 0, 23),
    size,
    validSize,
    firstCluster: stream.readUInt32LE(20),
    isContiguous: ((stream[1] ?? 0) & flagOf.noFatChain) !== 0,
  };
}

/** The text of a volume's label. */
export function parseLabel(bytes: Buffer, at: number): string {
  const units = Math.min(bytes[at + 1] ?? 0, 11);
  return bytes.toString('utf16le', at + 2, at + 2 + 2 * units);
}

/** Of all bytes of a set but those that hold it. */
function checksumOf(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at++) {
    if (at !== 2 && at !== 3) sum = ((sum << 15) + (sum >>> 1) + (bytes[at] ?? 0)) & 0xffff;
  }
  return sum;
}

/** A time, in the zone that stands beside it: quarters of an hour in seven bits, and one whether it is told. Without, it counts as UTC. */
function timeAt(bytes: Buffer, at: number, hundredths: number, zoneAt: number): Time {
  const { seconds, nanoseconds } = dosTime(bytes.readUInt16LE(at + 2), bytes.readUInt16LE(at), hundredths);
  const zone = bytes[zoneAt] ?? 0;
  const quarters = (zone & 0x80) === 0 ? 0 : ((zone & 0x7f) ^ 0x40) - 0x40;
  return { seconds: seconds - quarters * 15 * 60, nanoseconds };
}
