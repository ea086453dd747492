import { countField, numberField } from './numbers.js';

// The fields of a header: "ustar Interchange Format" of POSIX pax(1), and "Basic Tar Format" of the GNU tar manual.

/** Everything in a tar archive comes in blocks of this many bytes. */
export const blockBytes = 512;
const blockWords = blockBytes / 4;

/** Bytes, rounded up to whole blocks. */
export function wholeBlocks(bytes: number): number {
  return Math.ceil(bytes / blockBytes) * blockBytes;
}

export type BlockKind = 'header' | 'zeros' | 'damaged';

const checksumAt = 148;
const checksumBytes = 8;

/** What a block is where a header should be. `words` are the same bytes as `bytes`. */
export function kindOfBlock(bytes: Uint8Array, words: Uint32Array, at: number): BlockKind {
  // Bytes are added four at a time: two sums of 16 bits in each of two numbers.
  let even = 0;
  let odd = 0;
  const first = at / 4;
  for (let word = first; word < first + blockWords; word++) {
    const four = words[word] ?? 0;
    even += four & 0x00ff00ff;
    odd += (four >>> 8) & 0x00ff00ff;
  }
  const sum = (even & 0xffff) + (even >>> 16) + (odd & 0xffff) + (odd >>> 16);
  if (sum === 0) return 'zeros';
  const told = numberField(bytes, at + checksumAt, checksumBytes);
  // The checksum is made with spaces in its own place.
  let own = 0;
  for (let each = at + checksumAt; each < at + checksumAt + checksumBytes; each++) own += bytes[each] ?? 0;
  if (sum - own + checksumBytes * 0x20 === told) return 'header';
  return told === signedSum(bytes, at) ? 'header' : 'damaged';
}

/** Old tars (Sun's, and those of machines with signed chars) add bytes from -128 to 127. */
function signedSum(bytes: Uint8Array, at: number): number {
  let sum = checksumBytes * 0x20;
  for (let each = 0; each < blockBytes; each++) {
    const inChecksum = each >= checksumAt && each < checksumAt + checksumBytes;
    const byte = bytes[at + each] ?? 0;
    if (!inChecksum) sum += byte >= 0x80 ? byte - 0x100 : byte;
  }
  return sum;
}

export type HeaderFormat = 'v7' | 'ustar' | 'gnu';

/** A header in a window of bytes, field by field. It holds as long as the window's bytes stay. */
export class Header {
  constructor(
    readonly bytes: Buffer,
    readonly at: number,
  ) {}

  get format(): HeaderFormat {
    const magic = this.at + 257;
    const { bytes } = this;
    const isUstar = bytes[magic] === 0x75 && bytes[magic + 1] === 0x73 && bytes[magic + 2] === 0x74;
    if (!isUstar || bytes[magic + 3] !== 0x61 || bytes[magic + 4] !== 0x72) return 'v7';
    return bytes[magic + 5] === 0x20 ? 'gnu' : 'ustar';
  }

  /** One char; `\0` is a regular file. */
  get typeflag(): string {
    return String.fromCharCode(this.bytes[this.at + 156] ?? 0);
  }

  get mode(): number {
    return numberField(this.bytes, this.at + 100, 8);
  }

  get uid(): number {
    return numberField(this.bytes, this.at + 108, 8);
  }

  get gid(): number {
    return numberField(this.bytes, this.at + 116, 8);
  }

  /** Bytes that follow the header; NaN: it is not told. */
  get size(): number {
    return countField(this.bytes, this.at + 124, 12);
  }

  /** Seconds since 1970. */
  get modified(): number {
    return numberField(this.bytes, this.at + 136, 12);
  }

  get major(): number {
    return countField(this.bytes, this.at + 329, 8);
  }

  get minor(): number {
    return countField(this.bytes, this.at + 337, 8);
  }

  /** Seconds since 1970; only in GNU's format, 0 where it is not told. */
  get accessed(): number {
    return numberField(this.bytes, this.at + 345, 12);
  }

  /** As `accessed`. */
  get changed(): number {
    return numberField(this.bytes, this.at + 357, 12);
  }

  /** A part of the window where nothing has to be put together, else bytes of its own. */
  path(format: HeaderFormat): Buffer {
    const name = this.#text(0, 100);
    if (format !== 'ustar' || this.bytes[this.at + 345] === 0) return name;
    return Buffer.concat([this.#text(345, 155), slash, name]);
  }

  get linkname(): Buffer {
    return this.#text(157, 100);
  }

  /** The bytes of a field up to its NUL; all of it where it has none. */
  #text(offset: number, most: number): Buffer {
    const from = this.at + offset;
    let end = from;
    while (end < from + most && this.bytes[end] !== 0) end++;
    return this.bytes.subarray(from, end);
  }
}

const slash = Buffer.from('/');
