import { StillError } from '../../errors.js';
import type { Name } from '../../name.js';
import type { ResidentAttribute } from './attribute.js';
import { type FileReference, fileReference } from './mft-record.js';

// ntfs-3g's layout.h: struct FILE_NAME_ATTR, in MFT records and as the key of a folder's index
export const fileNameBytes = 66;
const place = { flags: 56, length: 64, namespace: 65 } as const;
const dosNamespace = 2;

/** A name of a file, and the folder that it is in. */
export interface FileName {
  readonly folder: FileReference;
  readonly name: string;
}

/** EIO: it is damaged. */
export function parseFileName(value: Buffer, owner: number): FileName {
  const length = value.length >= fileNameBytes ? value.readUInt8(place.length) : 0;
  if (value.length < fileNameBytes + 2 * length || length === 0)
    throw new StillError('EIO', `MFT record ${owner} is damaged: a name of ${value.length} bytes`);
  return {
    folder: fileReference(value, 0),
    name: value.toString('utf16le', fileNameBytes, fileNameBytes + 2 * length),
  };
}

export function nameUnits(bytes: Buffer, at: number): number {
  return bytes[at + place.length] ?? 0;
}

/** Whether a name that lies there is for DOS alone, beside a long name for all others. */
export function isDosKey(bytes: Buffer, at: number): boolean {
  return bytes[at + place.namespace] === dosNamespace;
}

export function isDosName(name: ResidentAttribute): boolean {
  return name.byte(place.namespace) === dosNamespace;
}

const ascii = /^[\0-\x7f]*$/;

/** UTF-16 as the bytes of a name: UTF-8, where half of a surrogate pair is the three bytes that it would be (WTF-8), as ntfs-3g has it. */
export function nameFromUtf16(text: string): Name {
  if (ascii.test(text)) return text as Name;
  const bytes: number[] = [];
  for (const char of text) {
    const code = char.codePointAt(0) ?? 0;
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), continuing(code));
    else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), continuing(code >> 6), continuing(code));
    else bytes.push(0xf0 | (code >> 18), continuing(code >> 12), continuing(code >> 6), continuing(code));
  }
  return String.fromCharCode(...bytes) as Name;
}

/** The UTF-16 that a name stands for; undefined where it is no WTF-8, so that no file can have it. */
export function nameToUtf16(name: Name): string | undefined {
  if (ascii.test(name)) return name;
  let text = '';
  for (let at = 0; at < name.length; ) {
    const lead = name.charCodeAt(at++);
    const more = lead < 0x80 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    let code = more === 0 ? lead : lead & (0x3f >> more);
    for (let left = more; left > 0; left--) code = (code << 6) | ((name.charCodeAt(at++) || 0) & 0x3f);
    if (code > 0x10ffff) return undefined;
    text += String.fromCodePoint(code);
  }
  // Whatever else was wrong with the bytes: others would have been made of that text.
  return nameFromUtf16(text) === name ? text : undefined;
}

function continuing(code: number): number {
  return 0x80 | (code & 0x3f);
}
