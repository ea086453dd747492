import { StillError } from '../../errors.js';
import type { Disk } from '../disk.js';
import { extentsOf, type Range, RangeJoiner } from './ranges.js';
import type { DiskSurvey, MapText } from './survey.js';

/** Keeps blocks of text that were made, by number; bounded by whoever gives it. */
export interface BlockCache {
  get(block: number): Buffer | undefined;
  set(block: number, text: Buffer): void;
}

/** Reads a dirty map as text at any offset. Only the blocks that are read are made. */
export class MapReader {
  readonly #disk: Disk;
  readonly #survey: DiskSurvey;
  readonly #text: MapText;
  readonly #cache: BlockCache;

  constructor(disk: Disk, survey: DiskSurvey, text: MapText, cache: BlockCache) {
    this.#disk = disk;
    this.#survey = survey;
    this.#text = text;
    this.#cache = cache;
  }

  get size(): number {
    return this.#text.size;
  }

  /** Fills `target` from an offset as far as the text goes, and says how many bytes that was. */
  async read(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<number> {
    const end = Math.min(offset + target.length, this.#text.size);
    let at = offset;
    while (at < end) {
      const block = this.#blockAt(at);
      const text = await this.#block(block, signal);
      const start = this.#text.blocks[block] ?? 0;
      const part = text.subarray(at - start, Math.min(end - start, text.length));
      target.set(part, at - offset);
      at += part.length;
    }
    return Math.max(at - offset, 0);
  }

  #blockAt(offset: number): number {
    const { blocks } = this.#text;
    let low = 0;
    let high = blocks.length;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if ((blocks[middle] ?? 0) <= offset) low = middle;
      else high = middle;
    }
    return low;
  }

  async #block(block: number, signal: AbortSignal | undefined): Promise<Buffer> {
    const cached = this.#cache.get(block);
    if (cached) return cached;
    const text = await this.#made(block, signal);
    const expected = (this.#text.blocks[block + 1] ?? this.#text.size) - (this.#text.blocks[block] ?? 0);
    if (text.length !== expected) {
      throw new StillError(
        'EIO',
        'the map of a disk is another one than when it was measured: the image has changed',
      );
    }
    this.#cache.set(block, text);
    return text;
  }

  async #made(block: number, signal: AbortSignal | undefined): Promise<Buffer> {
    const { format } = this.#text;
    const from = this.#survey.blocks[block] ?? 0;
    const to = this.#survey.blocks[block + 1] ?? this.#survey.size;
    const parts: string[] = block === 0 ? [format.header] : [];
    const add = (range: Range | undefined): void => {
      if (range) parts.push(format.row(range));
    };
    const joiner = new RangeJoiner((extent) => extent.dirty);
    for await (const extents of extentsOf(this.#disk, from, to, signal)) {
      for (const extent of extents) add(joiner.add(extent));
    }
    add(joiner.finish());
    if (to === this.#survey.size) parts.push(format.footer);
    return Buffer.from(parts.join(''), 'latin1');
  }
}
