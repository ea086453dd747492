import { StillError } from '../../errors.js';
import { nameAt, type StoredEntry, typeOf } from './folder-entry.js';

// struct xfs_dir2_data_hdr and xfs_dir3_data_hdr, xfs_dir2_data_entry, xfs_dir2_data_unused, xfs_dir2_block_tail
const headerV4 = 16;
const headerV5 = 64;
const unusedTag = 0xffff;
const alignment = 8;
const tailBytes = 8;
const leafEntryBytes = 8;
/** `XD2B` and `XDB3`: the whole folder is in the block, and its index at the block's end. */
const wholeFolder = new Set([0x58443242, 0x58444233]);

/** A part of an index: 8 bytes for each entry, a hash and an address, in the order of hashes. */
export interface HashIndex {
  readonly bytes: Buffer;
  readonly from: number;
  readonly count: number;
}

export interface PlacedEntry extends StoredEntry {
  /** Where it ends in its block, bytes. */
  readonly end: number;
}

/** A block of entries of a folder. */
export class FolderBlock {
  readonly #bytes: Buffer;
  readonly #inode: number;
  readonly #hasTypes: boolean;
  readonly #from: number;
  readonly #end: number;
  /** The index of a folder that is whole in this block. */
  readonly index: HashIndex | undefined;

  /** EIO: it is damaged. */
  constructor(bytes: Buffer, inode: number, version: 4 | 5, hasTypes: boolean) {
    this.#bytes = bytes;
    this.#inode = inode;
    this.#hasTypes = hasTypes;
    this.#from = version === 5 ? headerV5 : headerV4;
    if (!wholeFolder.has(bytes.readUInt32BE(0))) {
      this.index = undefined;
      this.#end = bytes.length;
      return;
    }
    const count = bytes.readUInt32BE(bytes.length - tailBytes);
    const end = bytes.length - tailBytes - count * leafEntryBytes;
    if (end < this.#from) throw this.#damaged(`an index of ${count} entries`);
    this.index = { bytes, from: end, count };
    this.#end = end;
  }

  /** The entries that end after an offset in the block. EIO: it is damaged. */
  entries(after: number): PlacedEntry[] {
    const entries: PlacedEntry[] = [];
    const bytes = this.#bytes;
    for (let at = this.#from; at < this.#end; ) {
      if (bytes.readUInt16BE(at) === unusedTag) {
        const length = bytes.readUInt16BE(at + 2);
        if (length === 0 || length % alignment !== 0 || at + length > this.#end)
          throw this.#damaged(`${length} unused bytes at ${at}`);
        at += length;
        continue;
      }
      const entry = this.entryAt(at);
      if (entry.end > after) entries.push(entry);
      at = entry.end;
    }
    return entries;
  }

  /** The entry at an offset in the block. EIO: there is none. */
  entryAt(at: number): PlacedEntry {
    const bytes = this.#bytes;
    const nameFrom = at + 9;
    const isInside = at >= this.#from && at % alignment === 0 && nameFrom < this.#end;
    const length = isInside ? bytes.readUInt8(at + 8) : 0;
    const typeAt = nameFrom + length;
    // The offset of the entry stands at its end.
    const end = Math.ceil((typeAt + (this.#hasTypes ? 3 : 2)) / alignment) * alignment;
    if (length === 0 || end > this.#end || bytes.readUInt16BE(end - 2) !== at)
      throw this.#damaged(`no entry is at ${at}`);
    return {
      name: nameAt(bytes, nameFrom, length),
      inode: bytes.readBigUInt64BE(at),
      type: this.#hasTypes ? typeOf(bytes.readUInt8(typeAt)) : undefined,
      end,
    };
  }

  #damaged(how: string): StillError {
    return new StillError('EIO', `a block of folder ${this.#inode} is damaged: ${how}`);
  }
}

/** The addresses that an index has for a hash, in order. Ends early where the hash may go on in a following index. */
export function addressesOf(
  { bytes, from, count }: HashIndex,
  hash: number,
): { found: number[]; mayGoOn: boolean } {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (bytes.readUInt32BE(from + middle * leafEntryBytes) < hash) low = middle + 1;
    else high = middle;
  }
  const found: number[] = [];
  for (; low < count; low++) {
    const at = from + low * leafEntryBytes;
    if (bytes.readUInt32BE(at) !== hash) return { found, mayGoOn: false };
    const address = bytes.readUInt32BE(at + 4);
    // 0: the entry was removed.
    if (address !== 0) found.push(address);
  }
  return { found, mayGoOn: true };
}
