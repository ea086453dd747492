import { LRUCache } from 'lru-cache';
import { StillError } from '../../errors.js';
import { type Metadata, metadataBytes } from './metadata.js';

const pointerBytes = 8;
/** Places are remembered for so many blocks: 8 MiB of a table. */
const mostRemembered = 1024;

/** A table of records of one size (ids, fragments, exports, attribute sets): a list in the image tells where its metadata blocks are. */
export class IndexedTable {
  readonly #metadata: Metadata;
  readonly #list: number;
  readonly #count: number;
  readonly #recordBytes: number;
  readonly #places = new LRUCache<number, number>({ max: mostRemembered });

  constructor(metadata: Metadata, list: number, count: number, recordBytes: number) {
    this.#metadata = metadata;
    this.#list = list;
    this.#count = count;
    this.#recordBytes = recordBytes;
  }

  /** EIO: there is no record of that number, or the table is damaged. */
  async record(number: number, signal: AbortSignal): Promise<Buffer> {
    if (number >= this.#count)
      throw new StillError(
        'EIO',
        `the squashfs image has ${this.#count} records in a table, none with number ${number}`,
      );
    const at = number * this.#recordBytes;
    const index = Math.floor(at / metadataBytes);
    const offset = at - index * metadataBytes;
    let place = this.#places.get(index);
    if (place === undefined) {
      const list = await this.#metadata.plain(this.#list + index * pointerBytes, pointerBytes, signal);
      place = Number(list.readBigUInt64LE(0));
      this.#places.set(index, place);
    }
    const block = this.#metadata.now(place) ?? (await this.#metadata.block(place, signal));
    if (offset + this.#recordBytes > block.bytes.length)
      throw new StillError('EIO', `a table of the squashfs image ends before its record ${number}`);
    return block.bytes.subarray(offset, offset + this.#recordBytes);
  }
}

/** The user and group ids of an image, which inodes refer to by their places. 65 536 of them at most. */
export async function readIds(
  metadata: Metadata,
  list: number,
  count: number,
  signal: AbortSignal,
): Promise<Uint32Array> {
  const table = new IndexedTable(metadata, list, count, 4);
  const ids = new Uint32Array(count);
  for (let each = 0; each < count; each++) ids[each] = (await table.record(each, signal)).readUInt32LE(0);
  return ids;
}
