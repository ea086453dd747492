import { LRUCache } from 'lru-cache';
import { StillError } from '../../errors.js';
import { type Name, nameFromBytes, nameToText } from '../../name.js';
import { IndexedTable } from './indexed-table.js';
import { type Metadata, MetadataCursor, type MetadataPlace } from './metadata.js';
import type { TableRange } from './superblock.js';

// fs/squashfs/squashfs_fs.h: struct squashfs_xattr_id_table { u64 start, u32 count, u32 unused }, then its list of blocks;
// struct squashfs_xattr_id { u64 place, u32 count, u32 size }; struct squashfs_xattr_entry { u16 type, u16 size }, the
// name, struct squashfs_xattr_val { u32 size }, the value
const tableBytes = 16;
const setBytes = 16;
const outOfLine = 0x100;
const prefixes: ReadonlyArray<string> = ['user.', 'trusted.', 'security.'];
// linux/limits.h: XATTR_NAME_MAX, XATTR_SIZE_MAX, XATTR_LIST_MAX
const longestName = 255;
const longestValue = 65536;
const longestList = 65536;
const rememberedBytes = 1 << 20;

interface Attribute {
  readonly name: Name;
  readonly value: MetadataPlace;
}

/** The extended attributes of an image: sets of them, which inodes refer to by number. */
export class ExtendedAttributes {
  readonly #metadata: Metadata;
  readonly #sets: IndexedTable;
  readonly #table: TableRange;
  readonly #remembered = new LRUCache<number, readonly Attribute[]>({
    maxSize: rememberedBytes,
    sizeCalculation: (set) => set.reduce((bytes, { name }) => bytes + name.length + 150, 100),
  });

  private constructor(metadata: Metadata, sets: IndexedTable, table: TableRange) {
    this.#metadata = metadata;
    this.#sets = sets;
    this.#table = table;
  }

  /** EIO: the table is damaged. */
  static async open(metadata: Metadata, place: number, signal: AbortSignal): Promise<ExtendedAttributes> {
    const head = await metadata.plain(place, tableBytes, signal);
    const start = Number(head.readBigUInt64LE(0));
    if (start >= place) throw damaged(`its values are said to begin at ${start}`);
    const sets = new IndexedTable(metadata, place + tableBytes, head.readUInt32LE(8), setBytes);
    return new ExtendedAttributes(metadata, sets, { start, end: place });
  }

  /** The names in a set. EIO: it is damaged. */
  async names(set: number, signal: AbortSignal): Promise<Name[]> {
    return (await this.#set(set, signal)).map(({ name }) => name);
  }

  /** A value of a set. ENODATA: it has no such name. EIO: it is damaged. */
  async value(set: number, name: Name, signal: AbortSignal): Promise<Uint8Array> {
    const attribute = (await this.#set(set, signal)).find((each) => each.name === name);
    if (!attribute) throw new StillError('ENODATA', `the file has no attribute ${nameToText(name)}`);
    const cursor = new MetadataCursor(this.#metadata, this.#table, attribute.value);
    const length = (await cursor.take(4, signal)).readUInt32LE(0);
    if (length > longestValue) throw damaged(`a value of ${length} bytes`);
    return Buffer.from(await cursor.take(length, signal));
  }

  async #set(number: number, signal: AbortSignal): Promise<readonly Attribute[]> {
    const known = this.#remembered.get(number);
    if (known) return known;
    const record = await this.#sets.record(number, signal);
    const cursor = this.#cursorAt(record.readBigUInt64LE(0));
    const set: Attribute[] = [];
    let listBytes = 0;
    for (let left = record.readUInt32LE(8); left > 0; left--) {
      const head = await cursor.take(4, signal);
      const type = head.readUInt16LE(0);
      const nameBytes = Buffer.from(await cursor.take(head.readUInt16LE(2), signal));
      const prefix = prefixes[type & 0xff];
      const name = `${prefix ?? ''}${nameFromBytes(nameBytes)}` as Name;
      if (name.length > longestName || nameBytes.length === 0 || nameBytes.includes(0))
        throw damaged(`a name of ${name.length} bytes`);
      listBytes += name.length + 1;
      if (listBytes > longestList) throw damaged('a set with more names than a file can have');
      const value = await this.#valueAt(cursor, (type & outOfLine) !== 0, signal);
      // Linux does not show those of other kinds either.
      if (prefix !== undefined) set.push({ name, value });
    }
    this.#remembered.set(number, set);
    return set;
  }

  /** Where a value is: right here, or where a reference in its place says. Passes over it. */
  async #valueAt(cursor: MetadataCursor, elsewhere: boolean, signal: AbortSignal): Promise<MetadataPlace> {
    const here = cursor.place;
    const length = (await cursor.take(4, signal)).readUInt32LE(0);
    if (elsewhere) {
      if (length !== 8) throw damaged(`a reference of ${length} bytes`);
      return this.#placeOf((await cursor.take(8, signal)).readBigUInt64LE(0));
    }
    if (length > longestValue) throw damaged(`a value of ${length} bytes`);
    await cursor.pass(length, signal);
    return here;
  }

  #cursorAt(reference: bigint): MetadataCursor {
    return new MetadataCursor(this.#metadata, this.#table, this.#placeOf(reference));
  }

  #placeOf(reference: bigint): MetadataPlace {
    return { block: this.#table.start + Number(reference >> 16n), offset: Number(reference & 0xffffn) };
  }
}

function damaged(how: string): StillError {
  return new StillError('EIO', `the extended attributes of the squashfs image are damaged: ${how}`);
}
