import { blockBytes } from './header.js';
import type { SparseMap } from './member.js';
import { countField, decimal } from './numbers.js';
import type { SparseFields } from './pax.js';

// The manual of GNU tar, "Storing Sparse Files" and "Basic Tar Format".

/** The pieces that all sparse files of an archive together may have: 16 bytes of memory each. */
export const mostPieces = 2 << 20;

/** A part of a map in the old GNU format, and whether another block of it follows. */
export interface MapPart {
  readonly map: SparseMap;
  readonly more: boolean;
}

/** The part of the map that stands in the header. */
export function mapInHeader(bytes: Buffer, header: number): MapPart {
  return { map: oldPairs(bytes, header + 386, 4), more: (bytes[header + 482] ?? 0) !== 0 };
}

/** The size that the file has with its holes; old GNU format. */
export function oldSparseSize(bytes: Buffer, header: number): number {
  return countField(bytes, header + 483, 12);
}

/** A block that goes on with the map. */
export function mapInBlock(block: Buffer): MapPart {
  return { map: oldPairs(block, 0, 21), more: (block[504] ?? 0) !== 0 };
}

function oldPairs(bytes: Buffer, at: number, most: number): number[] {
  const map: number[] = [];
  for (let pair = at; pair < at + most * 24; pair += 24) {
    // An unused pair ends the list.
    if (bytes[pair] === 0 && bytes[pair + 12] === 0) break;
    map.push(countField(bytes, pair, 12), countField(bytes, pair + 12, 12));
  }
  return map;
}

/** A sparse file of one of the PAX formats. */
export interface PaxSparse {
  /** Bytes, holes included; NaN where it is not told. */
  readonly size: number;
  /** The file's true name. */
  readonly name: Buffer | undefined;
  /** Undefined: the map stands before the data (format 1.0). */
  readonly map: SparseMap | undefined;
}

/** What the records of the formats 0.0, 0.1 and 1.0 say. Undefined: it is none of them. */
export function paxSparse({ values, map }: SparseFields): PaxSparse | undefined {
  const name = values.get('name');
  const major = values.get('major');
  if (major) {
    if (decimal(major) !== 1 || decimal(values.get('minor') ?? zero) !== 0) return undefined;
    return { size: decimal(values.get('realsize') ?? nothing), name, map: undefined };
  }
  const size = decimal(values.get('size') ?? values.get('realsize') ?? nothing);
  const list = values.get('map');
  if (!list) return { size, name, map };
  const numbers: number[] = [];
  for (let at = 0; at < list.length && numbers.length <= 2 * mostPieces; ) {
    const comma = list.indexOf(0x2c, at);
    const end = comma < 0 ? list.length : comma;
    numbers.push(decimal(list, at, end));
    at = end + 1;
  }
  return { size, name, map: numbers };
}

const nothing = Buffer.alloc(0);
const zero = Buffer.from('0');

/**
 * The map that stands before the data (format 1.0): the number of pieces, then offset and length of each, each number
 * with a newline, filled up to whole blocks.
 */
export class MapReader {
  readonly map: number[] = [];
  #wanted: number | undefined;
  #begun = 0;
  #digits = 0;

  /** Takes the next block. True: the map is complete, the data begin after this block. Undefined: it is no map. */
  take(block: Uint8Array): boolean | undefined {
    for (let at = 0; at < blockBytes; at++) {
      const byte = block[at] ?? 0;
      if (byte !== 0x0a) {
        const digit = byte - 0x30;
        if (digit < 0 || digit > 9 || ++this.#digits > 15) return undefined;
        this.#begun = this.#begun * 10 + digit;
        continue;
      }
      if (this.#digits === 0) return undefined;
      const value = this.#begun;
      this.#begun = 0;
      this.#digits = 0;
      if (this.#wanted === undefined) {
        if (value > mostPieces) return undefined;
        this.#wanted = value * 2;
      } else this.map.push(value);
      if (this.map.length === this.#wanted) return true;
    }
    return false;
  }
}

/** The bytes of a map's pieces; NaN: they overlap, are not in order, or leave the file. */
export function bytesOfMap(map: SparseMap, size: number): number {
  let end = 0;
  let bytes = 0;
  if (map.length % 2 !== 0) return Number.NaN;
  for (let at = 0; at < map.length; at += 2) {
    const offset = map[at] ?? Number.NaN;
    const length = map[at + 1] ?? Number.NaN;
    if (!(offset >= end && length >= 0 && offset + length <= size)) return Number.NaN;
    end = offset + length;
    bytes += length;
  }
  return bytes;
}
