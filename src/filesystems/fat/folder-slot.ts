import type { Name } from '../../name.js';
import { nameFromUtf16 } from '../utf16-name.js';
import { fromCodePage437, lowerCaseOf437 } from './code-page-437.js';

// "FAT: General Overview of On-Disk Format", 6 and 7; Linux: include/uapi/linux/msdos_fs.h (struct msdos_dir_entry, msdos_dir_slot)
export const slotBytes = 32;
export const attributeOf = { readOnly: 0x01, volume: 0x08, folder: 0x10, longName: 0x0f } as const;
const place = { attributes: 11, cases: 12, checksum: 13 } as const;
const caseOf = { base: 0x08, extension: 0x10 } as const;
const deleted = 0xe5;
/** Stands for a name's first byte 0xE5, which would mean that it is deleted. */
const insteadOfDeleted = 0x05;
const lastPart = 0x40;
const mostParts = 20;
const unitsOfPart = 13;
/** Where a part of a long name is in its slot: from, to. */
const unitPlaces = [
  [1, 11],
  [14, 26],
  [28, 32],
] as const;

/** What a slot of 32 bytes in a folder is. */
export type SlotKind = 'end' | 'free' | 'long name' | 'label' | 'self' | 'parent' | 'file' | 'folder';

export function slotKind(bytes: Buffer, at: number): SlotKind {
  const first = bytes[at];
  // Linux looks on behind the end; the specification, and all others, don't.
  if (first === 0) return 'end';
  if (first === deleted) return 'free';
  const attributes = bytes[at + place.attributes] ?? 0;
  if (attributes === attributeOf.longName) return 'long name';
  if ((attributes & attributeOf.volume) !== 0) return 'label';
  if (first === 0x2e && isDots(bytes, at)) return bytes[at + 1] === 0x2e ? 'parent' : 'self';
  return (attributes & attributeOf.folder) === 0 ? 'file' : 'folder';
}

function isDots(bytes: Buffer, at: number): boolean {
  const name = bytes.toString('latin1', at, at + 11);
  return name === '.          ' || name === '..         ';
}

/** The name of a slot in the old form of eight and three bytes; empty where it has none. */
export function shortName(bytes: Buffer, at: number): Name {
  const name = Buffer.from(bytes.subarray(at, at + 11));
  if (name[0] === insteadOfDeleted) name[0] = deleted;
  const cases = bytes[at + place.cases] ?? 0;
  const base = partOfName(name.subarray(0, 8), (cases & caseOf.base) !== 0);
  const extension = partOfName(name.subarray(8), (cases & caseOf.extension) !== 0);
  return nameFromUtf16(extension === '' ? base : `${base}.${extension}`);
}

/** A volume's label; empty where it has none. */
export function labelText(bytes: Buffer): string {
  const label = Buffer.from(bytes.subarray(0, 11));
  if (label[0] === insteadOfDeleted) label[0] = deleted;
  return partOfName(label, false);
}

function partOfName(bytes: Buffer, isLower: boolean): string {
  const end = bytes.indexOf(0);
  const text = fromCodePage437(end < 0 ? bytes : bytes.subarray(0, end)).replace(/ +$/, '');
  return isLower ? lowerCaseOf437(text) : text;
}

/** Puts a long name together out of the slots in front of its short one. */
export class LongName {
  #parts: string[] = [];
  /** How many parts are yet to come; undefined: none was begun, or it is broken. */
  #left: number | undefined;
  #checksum = 0;

  /** Takes the next slot of a name: the last part comes first. */
  take(bytes: Buffer, at: number): void {
    const order = bytes[at] ?? 0;
    const checksum = bytes[at + place.checksum] ?? 0;
    const number = order & ~lastPart;
    if ((order & lastPart) !== 0) {
      const isPossible = number >= 1 && number <= mostParts;
      this.#parts = [];
      this.#left = isPossible ? number : undefined;
      this.#checksum = checksum;
    }
    if (this.#left !== number || checksum !== this.#checksum) {
      this.#left = undefined;
      return;
    }
    this.#parts.push(unitsOf(bytes, at));
    this.#left = number - 1;
  }

  /** The name that was put together for this slot, if it is its; what was taken is forgotten. */
  finish(bytes: Buffer, at: number): Name | undefined {
    const isWhole = this.#left === 0 && checksumOf(bytes, at) === this.#checksum;
    this.#left = undefined;
    if (!isWhole) return undefined;
    const text = this.#parts.reverse().join('');
    const end = text.indexOf('\0');
    return nameFromUtf16(end < 0 ? text : text.slice(0, end));
  }

  forget(): void {
    this.#left = undefined;
  }
}

function unitsOf(bytes: Buffer, at: number): string {
  let text = '';
  for (const [from, to] of unitPlaces) text += bytes.toString('utf16le', at + from, at + to);
  return text.slice(0, unitsOfPart);
}

/** Of the eleven bytes of a short name. */
function checksumOf(bytes: Buffer, at: number): number {
  let sum = 0;
  for (let index = 0; index < 11; index++)
    sum = (((sum & 1) << 7) + (sum >>> 1) + (bytes[at + index] ?? 0)) & 0xff;
  return sum;
}
