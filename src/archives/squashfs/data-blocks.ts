import type { Disk } from '../../disks/disk.js';
import { type CacheSection, SharedCache } from '../../disks/qcow2/shared-cache.js';
import { StillError } from '../../errors.js';
import { SharedWait } from '../../shared-wait.js';
import type { Decompress } from './decompressor.js';

const uncompressed = 1 << 24;
const sizeMask = uncompressed - 1;

/** A data block or fragment block as it is stored. */
export interface StoredBlock {
  /** Bytes from the image's start. */
  readonly place: number;
  /** How many bytes are stored, and whether they are compressed, as the image tells it. */
  readonly stored: number;
  /** What it holds: exactly so many bytes of a file, or for fragments so many at most. */
  readonly length: number;
  readonly exact: boolean;
}

interface Unpacked {
  readonly bytes: Uint8Array;
  readonly stored: number;
  readonly byteLength: number;
}

/** 32 MiB for the data of all images that are open. */
const cache = new SharedCache<Unpacked>(32 << 20);

/** Whether a block is a hole: nothing is stored. */
export function isHole(stored: number): boolean {
  return (stored & sizeMask) === 0;
}

/** How many bytes of the image a block takes up. */
export function storedBytes(stored: number): number {
  return stored & sizeMask;
}

/** The data of an image, block by block, each unpacked once while it is remembered. */
export class DataBlocks {
  readonly #image: Disk;
  readonly #end: number;
  readonly #blockSize: number;
  readonly #decompress: Decompress;
  readonly #unpacked: CacheSection<Unpacked> = cache.section();
  readonly #underWay = new Map<string, SharedWait<Uint8Array>>();

  constructor(image: Disk, end: number, blockSize: number, decompress: Decompress) {
    this.#image = image;
    this.#end = end;
    this.#blockSize = blockSize;
    this.#decompress = decompress;
  }

  /** Fills `target` from an offset in what a block holds. EIO: it is damaged, or ends before. */
  async read(block: StoredBlock, offset: number, target: Uint8Array, signal: AbortSignal): Promise<void> {
    const { place, stored, length } = block;
    if (offset + target.length > length) throw damaged(block, `no ${target.length} bytes lie at ${offset}`);
    if (isHole(stored)) {
      target.fill(0);
      return;
    }
    this.#check(block);
    if ((stored & uncompressed) !== 0) {
      if (offset + target.length > storedBytes(stored)) throw damaged(block, 'it is too short');
      await this.#image.read(place + offset, target, signal);
      return;
    }
    const known = this.#unpacked.get(place);
    const bytes = known?.stored === stored ? known.bytes : await this.#load(block, signal);
    if (offset + target.length > bytes.length) throw damaged(block, `it holds only ${bytes.length} bytes`);
    target.set(bytes.subarray(offset, offset + target.length));
  }

  clear(): void {
    this.#unpacked.clear();
  }

  #check(block: StoredBlock): void {
    const { place, stored } = block;
    const length = storedBytes(stored);
    if (stored >= uncompressed * 2 || length > this.#blockSize)
      throw damaged(block, `${stored} is no size that it can have`);
    if (place + length > this.#end) throw damaged(block, `its ${length} bytes leave the image`);
  }

  async #load(block: StoredBlock, signal: AbortSignal): Promise<Uint8Array> {
    const key = `${block.place} ${block.stored}`;
    let work = this.#underWay.get(key);
    if (!work || work.abandoned) {
      const begun = new SharedWait((until) => this.#unpack(block, until));
      this.#underWay.set(key, begun);
      work = begun;
    }
    try {
      return await work.wait(signal);
    } finally {
      if (this.#underWay.get(key) === work) this.#underWay.delete(key);
    }
  }

  async #unpack(block: StoredBlock, signal: AbortSignal): Promise<Uint8Array> {
    const { place, stored, length, exact } = block;
    const packed = Buffer.allocUnsafeSlow(storedBytes(stored));
    await this.#image.read(place, packed, signal);
    let bytes: Uint8Array;
    try {
      bytes = await this.#decompress(packed, length);
    } catch (error) {
      throw new StillError('EIO', `the squashfs image's data at ${place} are damaged`, { cause: error });
    }
    if (exact && bytes.length !== length)
      throw damaged(block, `it holds ${bytes.length} bytes, not ${length}`);
    this.#unpacked.set(place, { bytes, stored, byteLength: bytes.buffer.byteLength });
    return bytes;
  }
}

function damaged({ place }: StoredBlock, how: string): StillError {
  return new StillError('EIO', `the squashfs image's data at ${place} are damaged: ${how}`);
}
