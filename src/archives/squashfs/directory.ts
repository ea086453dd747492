import { StillError } from '../../errors.js';
import { type Name, nameFromBytes, nameToBytes } from '../../name.js';
import type { FileType } from '../../tree/attributes.js';
import type { DirectoryInode, InodePlace } from './inode.js';
import { type Metadata, MetadataCursor, metadataBytes } from './metadata.js';
import type { TableRange } from './superblock.js';

// fs/squashfs/squashfs_fs.h: struct squashfs_dir_header, then up to 256 struct squashfs_dir_entry; struct squashfs_dir_index
const headerBytes = 12;
const entryBytes = 8;
const mostInHeader = 256;
const longestName = 256;
const indexBytes = 12;
const types: readonly FileType[] = ['directory', 'file', 'symlink', 'block', 'character', 'fifo', 'socket'];

/** An entry of a folder as it is stored. */
export interface DirectoryRow {
  readonly name: Name;
  readonly place: InodePlace;
  readonly type: FileType;
}

/** Goes through a folder's listing, or a part of it, one entry after the other. */
export class DirectoryScan {
  readonly #cursor: MetadataCursor;
  #unread: number;
  #piece: Buffer = Buffer.alloc(0);
  #at = 0;
  /** Of the header that the next entry stands under. */
  #entriesLeft = 0;
  #block = 0;

  /** `length`: bytes of entries and headers, beginning with a header. */
  constructor(cursor: MetadataCursor, length: number) {
    this.#cursor = cursor;
    this.#unread = length;
  }

  /** Up to so many more entries; none at the end. EIO: the listing is damaged. */
  async rows(most: number, signal: AbortSignal): Promise<DirectoryRow[]> {
    const rows: DirectoryRow[] = [];
    while (rows.length < most && (await this.#ready(signal))) {
      const { from, to, place, type } = this.#next();
      rows.push({ name: nameFromBytes(this.#piece.subarray(from, to)), place, type });
    }
    return rows;
  }

  /** Passes over entries. */
  async skip(count: number, signal: AbortSignal): Promise<void> {
    for (let left = count; left > 0 && (await this.#ready(signal)); left--) this.#next();
  }

  /** The entry of that name, if it is among those that are left. Entries are sorted by their bytes: it stops beyond. */
  async find(name: Buffer, signal: AbortSignal): Promise<DirectoryRow | undefined> {
    const first = name[0] ?? 0;
    while (this.#hasNext() || (await this.#ready(signal))) {
      const { from, to, place, type } = this.#next();
      const begins = this.#piece[from] ?? 0;
      // As Linux does it: other makers may sort what begins alike in an order of their own.
      if (begins > first) return undefined;
      if (begins === first && to - from === name.length && name.compare(this.#piece, from, to) === 0)
        return { name: nameFromBytes(name), place, type };
    }
    return undefined;
  }

  /** Whether the next entry, with a header before it, is in memory for certain. */
  #hasNext(): boolean {
    return this.#piece.length - this.#at >= headerBytes + entryBytes + longestName;
  }

  /** Whether there is a next entry; it is in memory then. */
  async #ready(signal: AbortSignal): Promise<boolean> {
    if (!this.#hasNext() && this.#unread > 0) {
      const length = Math.min(this.#unread, metadataBytes);
      const more = await this.#cursor.take(length, signal);
      this.#unread -= length;
      this.#piece =
        this.#at < this.#piece.length ? Buffer.concat([this.#piece.subarray(this.#at), more]) : more;
      this.#at = 0;
    }
    return this.#at < this.#piece.length;
  }

  #next(): { from: number; to: number; place: InodePlace; type: FileType } {
    if (this.#entriesLeft === 0) {
      const header = this.#take(headerBytes);
      this.#entriesLeft = this.#piece.readUInt32LE(header) + 1;
      this.#block = this.#piece.readUInt32LE(header + 4);
      if (this.#entriesLeft > mostInHeader) throw damaged(`a header of ${this.#entriesLeft} entries`);
    }
    this.#entriesLeft--;
    const entry = this.#take(entryBytes);
    const type = types[this.#piece.readUInt16LE(entry + 4) - 1];
    const length = this.#piece.readUInt16LE(entry + 6) + 1;
    if (type === undefined || length > longestName)
      throw damaged(`an entry of type ${this.#piece.readUInt16LE(entry + 4)} with a name of ${length} bytes`);
    const from = this.#take(length);
    const place = { block: this.#block, offset: this.#piece.readUInt16LE(entry) };
    return { from, to: from + length, place, type };
  }

  #take(length: number): number {
    const at = this.#at;
    if (at + length > this.#piece.length) throw damaged('it ends within an entry');
    this.#at += length;
    return at;
  }
}

/** Where parts of a large listing begin: the first name of each, and where it is. */
export class DirectoryIndex {
  readonly #parts: ReadonlyArray<{ name: Buffer; from: number; block: number }>;
  readonly byteLength: number;

  private constructor(parts: ReadonlyArray<{ name: Buffer; from: number; block: number }>) {
    this.#parts = parts;
    this.byteLength = parts.reduce((sum, { name }) => sum + name.length + 200, 0);
  }

  /** Reads the index of a folder, from behind its inode. EIO: it is damaged. */
  static async read(
    cursor: MetadataCursor,
    { indexes, listing }: DirectoryInode,
    signal: AbortSignal,
  ): Promise<DirectoryIndex> {
    const parts: Array<{ name: Buffer; from: number; block: number }> = [];
    let before = 0;
    for (let each = 0; each < indexes; each++) {
      const head = cursor.now(indexBytes) ?? (await cursor.take(indexBytes, signal));
      const from = head.readUInt32LE(0);
      const block = head.readUInt32LE(4);
      const length = head.readUInt32LE(8) + 1;
      if (length > longestName || from < before || from > listing.length)
        throw damaged(`an index with a name of ${length} bytes for byte ${from}`);
      before = from;
      const name = Buffer.from(cursor.now(length) ?? (await cursor.take(length, signal)));
      parts.push({ name, from, block });
    }
    return new DirectoryIndex(parts);
  }

  /** The part of a listing that a name is in, if the folder has it. */
  part(name: Buffer, { listing }: DirectoryInode): { block: number; offset: number; length: number } {
    let low = 0;
    let high = this.#parts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (name.compare(this.#parts[middle]?.name ?? name) < 0) high = middle;
      else low = middle + 1;
    }
    const begin = this.#parts[low - 1];
    const end = this.#parts[low]?.from ?? listing.length;
    if (!begin) return { ...listing, length: end };
    const offset = (listing.offset + begin.from) % metadataBytes;
    return { block: begin.block, offset, length: end - begin.from };
  }
}

/** Opens listings. */
export class Directories {
  readonly #metadata: Metadata;
  readonly #table: TableRange;

  constructor(metadata: Metadata, table: TableRange) {
    this.#metadata = metadata;
    this.#table = table;
  }

  scan({ block, offset, length }: DirectoryInode['listing']): DirectoryScan | undefined {
    if (length === 0) return undefined;
    const place = { block: this.#table.start + block, offset };
    return new DirectoryScan(new MetadataCursor(this.#metadata, this.#table, place), length);
  }

  async find(
    folder: DirectoryInode,
    name: Name,
    index: DirectoryIndex | undefined,
    signal: AbortSignal,
  ): Promise<DirectoryRow | undefined> {
    const bytes = nameToBytes(name);
    return this.scan(index?.part(bytes, folder) ?? folder.listing)?.find(bytes, signal);
  }
}

function damaged(how: string): StillError {
  return new StillError('EIO', `a folder of the squashfs image is damaged: ${how}`);
}
