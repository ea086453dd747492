import { nameWithin } from '../../name.js';
import { fields, flag, unexpected, whole } from '../../port/fields.js';
import type { Time } from '../../time.js';
import { type Attributes, type FileType, fileTypes } from '../attributes.js';
import type { Entry, Found } from '../tree.js';

/**
 * Entries of a listing in one piece of memory, which goes through a port as it is: to clone so many objects takes longer than
 * most file systems need to list them. First three 64-bit numbers of each row, then its other numbers, as doubles; the names of all rows
 * stand at the end, one after the other.
 */
export interface PackedEntries {
  readonly rows: number;
  readonly memory: ArrayBuffer;
  /** Nothing follows them in the folder. */
  readonly last: boolean;
}

/** Pieces of a listing in one, and whether nothing follows them in the folder. */
export interface JoinedEntries {
  readonly entries: readonly Entry[];
  readonly last: boolean;
}

/** Inode, cookie, and the inode of the attributes. */
const bigNumbers = 3;
/** The name's length, the type, whether there are attributes; and what `writeFound` writes. */
const ofEntry = 3;
const ofFound = 18;
const numbers = ofEntry + ofFound;
const rowBytes = (bigNumbers + numbers) * 8;
const noDevice = -1;

export function packEntries({ entries, last }: JoinedEntries): PackedEntries {
  const rows = entries.length;
  const nameBytes = entries.reduce((sum, { name }) => sum + name.length, 0);
  const memory = new ArrayBuffer(rows * rowBytes + nameBytes);
  const big = new BigUint64Array(memory, 0, rows * bigNumbers);
  const other = new Float64Array(memory, big.byteLength, rows * numbers);
  const names = Buffer.from(memory, rows * rowBytes);
  let bigAt = 0;
  let at = 0;
  let nameAt = 0;
  for (const { name, inode, type, cookie, found } of entries) {
    big[bigAt++] = inode;
    big[bigAt++] = cookie;
    big[bigAt++] = found?.attributes.inode ?? 0n;
    other[at++] = names.write(name, nameAt, 'latin1');
    nameAt += name.length;
    other[at++] = fileTypes.indexOf(type);
    other[at++] = found ? 1 : 0;
    if (found) writeFound(other, at, found);
    at += ofFound;
  }
  return { rows, memory, last };
}

function writeFound(
  other: Float64Array,
  from: number,
  { freshSeconds, attributes }: Found & { readonly attributes: Attributes },
): void {
  let at = from;
  other[at++] = freshSeconds;
  other[at++] = fileTypes.indexOf(attributes.type);
  other[at++] = attributes.permissions;
  other[at++] = attributes.links;
  other[at++] = attributes.uid;
  other[at++] = attributes.gid;
  other[at++] = attributes.device?.major ?? noDevice;
  other[at++] = attributes.device?.minor ?? noDevice;
  other[at++] = attributes.size;
  other[at++] = attributes.allocated;
  other[at++] = attributes.accessed.seconds;
  other[at++] = attributes.accessed.nanoseconds;
  other[at++] = attributes.modified.seconds;
  other[at++] = attributes.modified.nanoseconds;
  other[at++] = attributes.changed.seconds;
  other[at++] = attributes.changed.nanoseconds;
  other[at++] = attributes.freshSeconds;
  other[at] = attributes.bare ? 1 : 0;
}

/** What came through a port, its rows unread. */
export function parsePacked(value: unknown): PackedEntries {
  const from = fields(value);
  const rows = whole(from.rows, 'rows');
  const memory = from.memory instanceof ArrayBuffer ? from.memory : unexpected('memory');
  if (rows * rowBytes > memory.byteLength) unexpected('more rows than there is memory');
  return { rows, memory, last: flag(from.last, 'last') };
}

/** The entries of rows that came through a port. */
export function unpackEntries({ rows, memory }: PackedEntries): Entry[] {
  const reader = new Rows(rows, memory);
  return Array.from({ length: rows }, () => reader.entry());
}

class Rows {
  readonly #big: BigUint64Array;
  readonly #other: Float64Array;
  readonly #names: Buffer;
  #bigAt = 0;
  #at = 0;
  #nameAt = 0;

  constructor(rows: number, memory: ArrayBuffer) {
    this.#big = new BigUint64Array(memory, 0, rows * bigNumbers);
    this.#other = new Float64Array(memory, this.#big.byteLength, rows * numbers);
    this.#names = Buffer.from(memory, rows * rowBytes);
  }

  entry(): Entry {
    const inode = this.#nextBig('inode');
    const cookie = this.#nextBig('cookie');
    const found = this.#nextBig('inode');
    const end = this.#nameAt + this.#whole('name');
    if (end > this.#names.length) unexpected('name');
    const name = nameWithin(this.#names, this.#nameAt, end);
    this.#nameAt = end;
    const type = this.#type();
    if (this.#whole('found') === 0) {
      this.#at += ofFound;
      return { name, inode, type, cookie };
    }
    const freshSeconds = this.#fresh();
    return { name, inode, type, cookie, found: { attributes: this.#attributes(found), freshSeconds } };
  }

  #attributes(inode: bigint): Attributes {
    const type = this.#type();
    const permissions = this.#whole('permissions');
    const links = this.#whole('links');
    const uid = this.#whole('uid');
    const gid = this.#whole('gid');
    const major = this.#next();
    const minor = this.#next();
    const size = this.#whole('size');
    const allocated = this.#whole('allocated');
    const accessed = this.#time();
    const modified = this.#time();
    const changed = this.#time();
    const freshSeconds = this.#fresh();
    const bare: true | undefined = this.#whole('bare') === 1 ? true : undefined;
    // Listed one by one, all of one shape: to join objects for each row would take longer than all the rest.
    const attributes = {
      inode,
      type,
      permissions,
      links,
      uid,
      gid,
      size,
      allocated,
      accessed,
      modified,
      changed,
      freshSeconds,
      bare,
    };
    if (major === noDevice) return attributes;
    return { ...attributes, device: { major: whole(major, 'major'), minor: whole(minor, 'minor') } };
  }

  #time(): Time {
    const seconds = this.#next();
    if (!Number.isSafeInteger(seconds)) unexpected('seconds');
    return { seconds, nanoseconds: this.#whole('nanoseconds') };
  }

  #type(): FileType {
    return fileTypes[this.#next()] ?? unexpected('type');
  }

  #fresh(): number {
    const seconds = this.#next();
    return seconds >= 0 ? seconds : unexpected('freshSeconds');
  }

  #whole(what: string): number {
    return whole(this.#next(), what);
  }

  #next(): number {
    return this.#other[this.#at++] ?? unexpected('row');
  }

  #nextBig(what: string): bigint {
    return this.#big[this.#bigAt++] ?? unexpected(what);
  }
}
