import { StillError } from '../../errors.js';
import { fileNameBytes, isDosKey, nameUnits } from './file-name.js';
import { size64 } from './integers.js';
import { type FileReference, fileReference } from './mft-record.js';
import { unprotected } from './multi-sector.js';
import type { SoughtName } from './upcase.js';

// ntfs-3g's layout.h: struct INDEX_ROOT, INDEX_BLOCK, INDEX_HEADER, INDEX_ENTRY
const rootHeader = 16;
const blockHeader = 24;
const blockMagic = 0x5844_4e49;
const headerBytes = 16;
const entryBytes = 16;
const fileNameType = 0x30;
const flagOf = { hasChild: 1, last: 2 } as const;

/** An entry of a folder's index. */
export interface IndexEntry {
  /** Where it is in its node. */
  readonly at: number;
  readonly file: FileReference;
  readonly name: string;
}

/** What a look-up found in a node: an entry, or the node below to go on in; neither where there is none. */
export interface Step {
  readonly entry?: IndexEntry;
  readonly child?: number;
}

/** A node of a folder's B-tree: entries sorted by their names, each with what comes before it in a node below. */
export class IndexNode {
  readonly #bytes: Buffer;
  readonly #from: number;
  readonly #to: number;
  readonly #what: string;

  private constructor(bytes: Buffer, header: number, what: string) {
    const from = bytes.length >= header + headerBytes ? bytes.readUInt32LE(header) : 0;
    const used = from === 0 ? 0 : bytes.readUInt32LE(header + 4);
    if (from < headerBytes || from > used || used > bytes.length - header)
      throw new StillError('EIO', `${what} is damaged: its entries lie at ${from} of ${used} bytes`);
    this.#bytes = bytes;
    this.#from = header + from;
    this.#to = header + used;
    this.#what = what;
  }

  /** The value of an index root, which tells how large the other nodes are, too. */
  static root(value: Buffer, what: string): { node: IndexNode; blockBytes: number } {
    if (value.length < rootHeader + headerBytes || value.readUInt32LE(0) !== fileNameType)
      throw new StillError('EIO', `${what} is damaged: it is no index of names`);
    const blockBytes = value.readUInt32LE(8);
    const isSize = blockBytes >= 512 && blockBytes <= 65536 && (blockBytes & (blockBytes - 1)) === 0;
    if (!isSize) throw new StillError('EIO', `${what} is damaged: it has blocks of ${blockBytes} bytes`);
    // The record that it lies in is not kept.
    return { node: new IndexNode(Buffer.from(value), rootHeader, what), blockBytes };
  }

  /** A block as it is stored, which knows its own number. */
  static block(stored: Buffer, number: number, what: string): IndexNode {
    const bytes = unprotected(stored, blockMagic, () => what);
    if (!bytes || size64(bytes, 16) !== number)
      throw new StillError('EIO', `${what} is damaged: it is another one, or none`);
    return new IndexNode(bytes, blockHeader, what);
  }

  get byteLength(): number {
    return this.#bytes.length;
  }

  /** The entries from a place on, without those for DOS alone. */
  entries(from: number): IndexEntry[] {
    const entries: IndexEntry[] = [];
    for (let at = this.#from; !this.#isLast(at); at = this.#next(at)) {
      const key = at + entryBytes;
      if (at >= from && !isDosKey(this.#bytes, key)) entries.push(this.#entry(at));
    }
    return entries;
  }

  step(sought: SoughtName): Step {
    let at = this.#from;
    for (; !this.#isLast(at); at = this.#next(at)) {
      const key = at + entryBytes;
      const order = sought.compare(this.#bytes, key + fileNameBytes, nameUnits(this.#bytes, key));
      if (order === 0) return isDosKey(this.#bytes, key) ? {} : { entry: this.#entry(at) };
      if (order < 0) break;
    }
    return this.#childOf(at);
  }

  #entry(at: number): IndexEntry {
    const key = at + entryBytes;
    const name = key + fileNameBytes;
    return {
      at,
      file: fileReference(this.#bytes, at),
      name: this.#bytes.toString('utf16le', name, name + 2 * nameUnits(this.#bytes, key)),
    };
  }

  /** Checks an entry before anything else of it is read. */
  #isLast(at: number): boolean {
    const length = at + entryBytes <= this.#to ? this.#bytes.readUInt16LE(at + 8) : 0;
    if (length < entryBytes || length % 8 !== 0 || length > this.#to - at)
      throw new StillError('EIO', `${this.#what} is damaged: its entry at ${at} has ${length} bytes`);
    if (((this.#bytes[at + 12] ?? 0) & flagOf.last) !== 0) return true;
    const key = this.#bytes.readUInt16LE(at + 10);
    const units = nameUnits(this.#bytes, at + entryBytes);
    if (key < fileNameBytes + 2 * units || key > length - entryBytes || units === 0)
      throw new StillError('EIO', `${this.#what} is damaged: its entry at ${at} has a key of ${key} bytes`);
    return false;
  }

  #next(at: number): number {
    return at + this.#bytes.readUInt16LE(at + 8);
  }

  /** The number of the node below stands at the end of the entry. */
  #childOf(at: number): Step {
    if (((this.#bytes[at + 12] ?? 0) & flagOf.hasChild) === 0) return {};
    const length = this.#bytes.readUInt16LE(at + 8);
    const child = length < entryBytes + 8 ? Number.NaN : size64(this.#bytes, at + length - 8);
    if (Number.isNaN(child))
      throw new StillError('EIO', `${this.#what} is damaged: its entry at ${at} leads nowhere`);
    return { child };
  }
}
