import { StillError } from '../../errors.js';
import type { Time } from '../../time.js';
import { decimal, signedDecimal } from './numbers.js';

/**
 * Goes through the records of a PAX extended header: `LENGTH KEY=VALUE\n`, the length in decimal and of the whole
 * record (POSIX pax(1), "pax Extended Header"). EIO: the bytes are no such records; those before are given all the same.
 */
export function eachPaxRecord(bytes: Buffer, give: (key: string, value: Buffer) => void): void {
  for (let at = 0; at < bytes.length; ) {
    const space = placeOf(0x20, bytes, at, Math.min(bytes.length, at + mostDigits));
    const length = decimal(bytes, at, space);
    const end = at + length;
    const equals = end <= bytes.length ? placeOf(0x3d, bytes, space, end) : end;
    if (!(equals < end) || equals <= space + 1 || bytes[end - 1] !== 0x0a) {
      // What fills the last block up is no record.
      if (bytes[at] === 0) return;
      throw new StillError('EIO', `byte ${at} of an extended header of ${bytes.length} begins no record`);
    }
    give(bytes.toString('latin1', space + 1, equals), bytes.subarray(equals + 1, end - 1));
    at = end;
  }
}

/** Most digits of a record's length that are looked at. */
const mostDigits = 17;

/** Where a byte first is in a range; the range's end where it is not. (`indexOf` costs more than a few bytes do.) */
function placeOf(byte: number, bytes: Buffer, from: number, to: number): number {
  let at = from;
  while (at < to && bytes[at] !== byte) at++;
  return at;
}

/** What extended headers tell of a member. What they don't tell, or take back, is undefined. */
export interface PaxFields {
  path?: Buffer | undefined;
  linkpath?: Buffer | undefined;
  size?: number | undefined;
  uid?: number | undefined;
  gid?: number | undefined;
  modified?: Time | undefined;
  accessed?: Time | undefined;
  changed?: Time | undefined;
  /** The records of GNU's sparse formats, by what follows `GNU.sparse.`; offsets and lengths in their order. */
  sparse?: SparseFields | undefined;
  /** Whether there are extended attributes or ACLs among the records. */
  attributes?: boolean | undefined;
  /** The member goes on from another volume. */
  continued?: boolean | undefined;
}

export interface SparseFields {
  readonly values: Map<string, Buffer>;
  /** Of format 0.0: offset, length, offset, length… */
  readonly map: number[];
}

/** Reads records into `fields`. EIO as `eachPaxRecord`; EINVAL for a value that is none, all others are read then. */
export function readPaxFields(bytes: Buffer, fields: PaxFields): void {
  let wrong: string | undefined;
  const value = <T>(key: string, text: Buffer, parse: (text: Buffer) => T | undefined): T | undefined => {
    if (text.length === 0) return undefined;
    const parsed = parse(text);
    if (parsed === undefined) wrong ??= `${key}=${text.toString('latin1', 0, 40)}`;
    return parsed;
  };
  eachPaxRecord(bytes, (key, text) => {
    switch (key) {
      case 'path':
        fields.path = value(key, text, withoutNul);
        break;
      case 'linkpath':
        fields.linkpath = value(key, text, withoutNul);
        break;
      case 'size':
        fields.size = value(key, text, count);
        break;
      case 'uid':
        fields.uid = value(key, text, number);
        break;
      case 'gid':
        fields.gid = value(key, text, number);
        break;
      case 'mtime':
        fields.modified = value(key, text, paxTime);
        break;
      case 'atime':
        fields.accessed = value(key, text, paxTime);
        break;
      case 'ctime':
        fields.changed = value(key, text, paxTime);
        break;
      default:
        if (key.startsWith('GNU.sparse.')) readSparse(fields, key.slice('GNU.sparse.'.length), text);
        else if (key === 'GNU.volume.filename' || key === 'GNU.volume.offset') fields.continued = true;
        else if (isAttributeKey(key)) fields.attributes = true;
    }
  });
  if (wrong !== undefined) throw new StillError('EINVAL', `an extended header says ${wrong}`);
}

/** Whether a record holds an extended attribute or an ACL: `attributesOf` reads it. */
export function isAttributeKey(key: string): boolean {
  return (
    key.startsWith('SCHILY.xattr.') ||
    key.startsWith('LIBARCHIVE.xattr.') ||
    key === 'SCHILY.acl.access' ||
    key === 'SCHILY.acl.default' ||
    key === 'RHT.security.selinux'
  );
}

function readSparse(fields: PaxFields, key: string, text: Buffer): void {
  fields.sparse ??= { values: new Map(), map: [] };
  if (key === 'offset' || key === 'numbytes') {
    // Format 0.0: each offset is followed by its length.
    const isOffset = fields.sparse.map.length % 2 === 0;
    fields.sparse.map.push(isOffset === (key === 'offset') ? decimal(text) : Number.NaN);
  } else {
    // The header's bytes are not kept.
    fields.sparse.values.set(key, Buffer.from(text));
  }
}

function withoutNul(text: Buffer): Buffer | undefined {
  return text.includes(0) ? undefined : Buffer.from(text);
}

function count(text: Buffer): number | undefined {
  const value = decimal(text);
  return Number.isNaN(value) ? undefined : value;
}

function number(text: Buffer): number | undefined {
  const value = signedDecimal(text);
  return Number.isNaN(value) ? undefined : value;
}

/** Seconds with a fraction, as POSIX writes times; a fraction goes downwards to the nanosecond. */
export function paxTime(text: Buffer): Time | undefined {
  const dot = text.indexOf(0x2e);
  const negative = text[0] === 0x2d;
  const seconds = decimal(text, negative ? 1 : 0, dot < 0 ? text.length : dot);
  if (Number.isNaN(seconds)) return undefined;
  if (dot < 0) return { seconds: negative ? -seconds : seconds, nanoseconds: 0 };
  let nanoseconds = 0;
  let beyond = false;
  for (let place = 0; place < Math.max(9, text.length - dot - 1); place++) {
    const at = dot + 1 + place;
    const digit = at < text.length ? (text[at] ?? 0) - 0x30 : 0;
    if (digit < 0 || digit > 9) return undefined;
    if (place < 9) nanoseconds = nanoseconds * 10 + digit;
    else beyond ||= digit !== 0;
  }
  if (!negative) return { seconds, nanoseconds };
  if (beyond) nanoseconds++;
  return nanoseconds === 0
    ? { seconds: -seconds, nanoseconds }
    : { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds };
}
