import { LRUCache } from 'lru-cache';
import type { Disk } from '../disks/disk.js';
import { mustLieWithin } from '../disks/disk-range.js';
import { StillError } from '../errors.js';
import { rest, spend } from '../pace.js';
import { SharedWait } from '../shared-wait.js';

/** How much is read at a time, and how much is kept. */
export interface CacheBounds {
  readonly pageBytes: number;
  readonly mostBytes: number;
  /** Pages that are read at once at most, where they are read one after the other. */
  readonly mostPagesAhead: number;
}

/** About what going through a structure that is in memory costs, in milliseconds. */
const walking = 0.01;

/** Pages that are being read. */
interface Load {
  readonly first: number;
  readonly count: number;
  readonly wait: SharedWait<readonly Buffer[]>;
}

const defaultBounds: CacheBounds = { pageBytes: 16 * 1024, mostBytes: 32 * 1024 * 1024, mostPagesAhead: 16 };

/**
 * Reads small pieces of a disk through a cache: what a file system says about itself lies close together. A read that goes
 * on where the last one ended reads ahead, twice as far each time; one that jumps costs a page.
 */
export class CachedReads {
  readonly size: number;
  readonly #disk: Disk;
  readonly #name: string;
  readonly #bounds: CacheBounds;
  readonly #pages: LRUCache<number, Buffer>;
  readonly #underWay = new Map<number, Load>();
  /** What several pages at once are read into, as long as nothing is: fresh memory each time costs more than the copy out of it. */
  #spare: Buffer | undefined;
  /** How many pages the last reads ahead brought, by the page that would go on from there. */
  readonly #runs = new LRUCache<number, number>({ max: 64 });

  /** `name`: what stands for the disk in errors. */
  constructor(disk: Disk, name: string, bounds: CacheBounds = defaultBounds) {
    this.size = disk.size;
    this.#disk = disk;
    this.#name = name;
    this.#bounds = bounds;
    this.#pages = new LRUCache({ max: Math.max(1, Math.floor(bounds.mostBytes / bounds.pageBytes)) });
  }

  /** Bytes, without a wait; undefined where they are not all in memory, in one page. They must not be written to. */
  now(offset: number, length: number): Buffer | undefined {
    const { pageBytes } = this.#bounds;
    const number = Math.floor(offset / pageBytes);
    const at = offset - number * pageBytes;
    if (!(length >= 0 && at + length <= pageBytes)) return undefined;
    const page = this.#pages.get(number);
    return page && at + length <= page.length ? page.subarray(at, at + length) : undefined;
  }

  /** Bytes, which must not be written to. EINVAL: they leave the disk; EIO: they can't be read. */
  async bytes(offset: number, length: number, signal: AbortSignal): Promise<Buffer> {
    signal.throwIfAborted();
    const known = this.now(offset, length);
    if (known) {
      // Who walks through what is in memory must not keep everyone else waiting.
      spend(walking);
      await rest();
      return known;
    }
    mustLieWithin(this, this.#name, offset, length);
    const { pageBytes } = this.#bounds;
    const first = Math.floor(offset / pageBytes);
    const last = Math.floor((offset + Math.max(length, 1) - 1) / pageBytes);
    const parts: Buffer[] = [];
    for (let number = first; number <= last; number++) {
      const page = this.#pages.get(number) ?? (await this.#page(number, last, signal));
      const start = number * pageBytes;
      parts.push(page.subarray(Math.max(offset - start, 0), offset + length - start));
    }
    return parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts, length);
  }

  clear(): void {
    this.#spare = undefined;
    this.#pages.clear();
    this.#runs.clear();
  }

  async #page(number: number, wanted: number, signal: AbortSignal): Promise<Buffer> {
    const known = this.#underWay.get(number);
    const load = known && !known.wait.abandoned ? known : this.#begin(number, wanted);
    try {
      const page = (await load.wait.wait(signal))[number - load.first];
      if (page) return page;
      throw new StillError('EIO', `${this.#name} gave less than was asked of it`);
    } finally {
      for (let index = 0; index < load.count; index++) {
        if (this.#underWay.get(load.first + index) === load) this.#underWay.delete(load.first + index);
      }
    }
  }

  #begin(first: number, wanted: number): Load {
    const { pageBytes, mostPagesAhead } = this.#bounds;
    const run = Math.min((this.#runs.get(first) ?? 0) * 2, mostPagesAhead);
    const most = Math.max(1, run, Math.min(wanted - first + 1, mostPagesAhead));
    const pagesOfDisk = Math.ceil(this.size / pageBytes);
    let count = 1;
    while (count < most && first + count < pagesOfDisk && this.#isAbsent(first + count)) count++;
    this.#runs.set(first + count, count);
    const wait = new SharedWait((signal) => this.#read(first, count, signal));
    const load = { first, count, wait };
    for (let index = 0; index < count; index++) this.#underWay.set(first + index, load);
    return load;
  }

  #isAbsent(number: number): boolean {
    return !this.#pages.has(number) && !this.#underWay.has(number);
  }

  async #read(first: number, count: number, signal: AbortSignal): Promise<readonly Buffer[]> {
    const { pageBytes, mostPagesAhead } = this.#bounds;
    const start = first * pageBytes;
    const length = Math.min(count * pageBytes, this.size - start);
    if (count === 1) {
      const page = Buffer.allocUnsafeSlow(length);
      await this.#disk.read(start, page, signal);
      this.#pages.set(first, page);
      return [page];
    }
    const spare = this.#spare ?? Buffer.allocUnsafeSlow(mostPagesAhead * pageBytes);
    const bytes = spare.subarray(0, length);
    // After a failure the disk may still write to it: it is not used again then.
    this.#spare = undefined;
    await this.#disk.read(start, bytes, signal);
    const pages = Array.from({ length: count }, (_, index) => {
      // A page that stays must not keep its neighbours.
      const page = Buffer.from(bytes.subarray(index * pageBytes, (index + 1) * pageBytes));
      this.#pages.set(first + index, page);
      return page;
    });
    this.#spare = spare;
    return pages;
  }
}
