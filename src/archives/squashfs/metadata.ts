import type { Disk } from '../../disks/disk.js';
import { type CacheSection, SharedCache } from '../../disks/qcow2/shared-cache.js';
import { StillError } from '../../errors.js';
import { rest, spend } from '../../pace.js';
import { SharedWait } from '../../shared-wait.js';
import type { Decompress } from './decompressor.js';
import type { TableRange } from './superblock.js';

// Documentation/filesystems/squashfs.rst, "Metadata blocks": u16 length, its highest bit set where it is not compressed
const headerBytes = 2;
export const metadataBytes = 8192;
const uncompressed = 0x8000;
/** About what walking through a block that is in memory costs, in milliseconds. */
const walking = 0.02;

/** What a metadata block holds, and where the next one begins in the image. */
export interface MetadataBlock {
  readonly bytes: Buffer;
  readonly next: number;
  readonly byteLength: number;
}

/** 16 MiB for the metadata of all images that are open. */
const cache = new SharedCache<MetadataBlock>(16 << 20);

/** The metadata blocks of an image, each read and unpacked once while it is remembered. */
export class Metadata {
  readonly #image: Disk;
  readonly #end: number;
  readonly #decompress: Decompress;
  readonly #blocks: CacheSection<MetadataBlock> = cache.section();
  readonly #underWay = new Map<number, SharedWait<MetadataBlock>>();

  /** `end`: where the image's bytes end. */
  constructor(image: Disk, end: number, decompress: Decompress) {
    this.#image = image;
    this.#end = end;
    this.#decompress = decompress;
  }

  /** The block at a place in the image, if it is remembered. */
  now(place: number): MetadataBlock | undefined {
    return this.#blocks.get(place);
  }

  /** EIO: there is none, it is damaged, or it leaves the image. */
  async block(place: number, signal: AbortSignal): Promise<MetadataBlock> {
    signal.throwIfAborted();
    const known = this.#blocks.get(place);
    if (known) {
      spend(walking);
      await rest();
      return known;
    }
    let work = this.#underWay.get(place);
    if (!work || work.abandoned) {
      const begun = new SharedWait((until) => this.#load(place, until));
      this.#underWay.set(place, begun);
      work = begun;
    }
    try {
      return await work.wait(signal);
    } finally {
      if (this.#underWay.get(place) === work) this.#underWay.delete(place);
    }
  }

  /** Bytes that lie in the image as they are: a table's list of blocks. EIO: they leave it. */
  async plain(place: number, length: number, signal: AbortSignal): Promise<Buffer> {
    if (place < 0 || place + length > this.#end) throw damaged(place, `${length} bytes leave the image`);
    const bytes = Buffer.alloc(length);
    await this.#image.read(place, bytes, signal);
    return bytes;
  }

  clear(): void {
    this.#blocks.clear();
  }

  async #load(place: number, signal: AbortSignal): Promise<MetadataBlock> {
    if (place + headerBytes > this.#end) throw damaged(place, 'it lies outside of the image');
    const around = await this.plain(place, Math.min(headerBytes + metadataBytes, this.#end - place), signal);
    const header = around.readUInt16LE(0);
    // Linux takes a length of 0 for the greatest that the field can't hold; no block is as long.
    const length = header & ~uncompressed;
    if (length === 0 || length > metadataBytes || headerBytes + length > around.length)
      throw damaged(place, `${length} bytes are not what it can have`);
    const stored = around.subarray(headerBytes, headerBytes + length);
    const bytes = (header & uncompressed) !== 0 ? Buffer.from(stored) : await this.#unpack(place, stored);
    if (bytes.length === 0) throw damaged(place, 'it is empty');
    const block = { bytes, next: place + headerBytes + length, byteLength: bytes.length };
    this.#blocks.set(place, block);
    return block;
  }

  async #unpack(place: number, stored: Buffer): Promise<Buffer> {
    try {
      const bytes = await this.#decompress(stored, metadataBytes);
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    } catch (error) {
      throw new StillError('EIO', `the squashfs image's metadata at ${place} is damaged`, { cause: error });
    }
  }
}

/** A place in a table of metadata: a block's place in the image, and an offset in what it holds. */
export interface MetadataPlace {
  readonly block: number;
  readonly offset: number;
}

/** Reads a table from a place on, over the edges of its blocks. */
export class MetadataCursor {
  readonly #metadata: Metadata;
  readonly #table: TableRange;
  #place: number;
  #offset: number;
  #block: MetadataBlock | undefined;

  /** EIO: the place lies outside of the table. */
  constructor(metadata: Metadata, table: TableRange, { block, offset }: MetadataPlace) {
    if (!(block >= table.start && block < table.end && offset >= 0 && offset <= metadataBytes))
      throw damaged(block, `it lies outside of its table`);
    this.#metadata = metadata;
    this.#table = table;
    this.#place = block;
    this.#offset = offset;
    this.#block = metadata.now(block);
  }

  get place(): MetadataPlace {
    return { block: this.#place, offset: this.#offset };
  }

  /** The next bytes, without a wait; undefined where their block is not in memory or ends before they do. */
  now(length: number): Buffer | undefined {
    const block = this.#block;
    if (!block) return undefined;
    const end = this.#offset + length;
    if (end > block.bytes.length) return undefined;
    const bytes = block.bytes.subarray(this.#offset, end);
    this.#offset = end;
    return bytes;
  }

  /** The next bytes. EIO: the table ends before, or is damaged. */
  async take(length: number, signal: AbortSignal): Promise<Buffer> {
    const at = this.now(length);
    if (at) return at;
    const parts: Buffer[] = [];
    let left = length;
    await this.pass(length, signal, (part) => {
      parts.push(part);
      left -= part.length;
    });
    return parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts, length - left);
  }

  /** Passes over bytes, with each piece of them shown to `see`. */
  async pass(length: number, signal: AbortSignal, see?: (part: Buffer) => void): Promise<void> {
    for (let left = length; left > 0; ) {
      this.#block ??= await this.#load(signal);
      const { bytes, next } = this.#block;
      const part = bytes.subarray(this.#offset, this.#offset + left);
      this.#offset += part.length;
      left -= part.length;
      see?.(part);
      if (left === 0) return;
      if (this.#offset > bytes.length) throw damaged(this.#place, `it has no offset ${this.#offset}`);
      this.#place = next;
      this.#offset = 0;
      this.#block = undefined;
    }
  }

  #load(signal: AbortSignal): Promise<MetadataBlock> {
    if (this.#place >= this.#table.end) throw damaged(this.#place, 'its table ends before');
    return this.#metadata.block(this.#place, signal);
  }
}

function damaged(place: number, how: string): StillError {
  return new StillError('EIO', `the squashfs image's metadata at ${place} is damaged: ${how}`);
}
