import { StillError } from '../../errors.js';
import { rest, timed } from '../../pace.js';

// Where each kind of probability lies, as in "LZMA specification" of the LZMA SDK.
const statesTimesPositions = 12 << 4;
const isMatch = 0;
const isRep = isMatch + statesTimesPositions;
const isRepG0 = isRep + 12;
const isRepG1 = isRepG0 + 12;
const isRepG2 = isRepG1 + 12;
const isRep0Long = isRepG2 + 12;
const slots = isRep0Long + statesTimesPositions;
const specials = slots + 4 * 64;
const align = specials + 128;
const matchLengths = align + 16;
const lengthProbabilities = 2 + 16 * 8 + 16 * 8 + 256;
const repLengths = matchLengths + lengthProbabilities;
const literals = repLengths + lengthProbabilities;
const mostProbabilities = literals + (0x300 << 4);
const evenOdds = 1024;

/**
 * Unpacks the LZMA2 chunks that begin at `from` into `target`, which is the dictionary too, and tells how many bytes
 * they gave and where they end. Lets others in between chunks (64 KiB packed at most). EIO: they are damaged, or give more than fits.
 */
export async function unpackLzma2(
  packed: Uint8Array,
  from: number,
  target: Uint8Array,
): Promise<{ length: number; end: number }> {
  const chunks = new Lzma2Chunks(packed, from, target);
  while (timed(() => chunks.next())) await rest();
  return { length: chunks.length, end: chunks.end };
}

/** The format of the chunks is that of linux/lib/xz/xz_dec_lzma2.c. */
class Lzma2Chunks {
  readonly #packed: Uint8Array;
  readonly #target: Uint8Array;
  readonly #lzma: Lzma;
  #from: number;
  #at = 0;
  #needsDictionary = true;
  #needsProperties = true;
  #needsState = true;

  constructor(packed: Uint8Array, from: number, target: Uint8Array) {
    this.#packed = packed;
    this.#target = target;
    this.#from = from;
    this.#lzma = new Lzma(packed, target);
  }

  get length(): number {
    return this.#at;
  }

  get end(): number {
    return this.#from;
  }

  /** Unpacks a chunk. False at the end. */
  next(): boolean {
    const control = this.#byte();
    if (control === 0) return false;
    const isLzma = control >= 0x80;
    if (control >= 0xe0 || control === 1) {
      this.#needsDictionary = false;
      this.#needsProperties = true;
      this.#lzma.dictionaryFrom(this.#at);
    } else if (this.#needsDictionary || (!isLzma && control > 2)) throw damaged('a chunk of an unknown kind');
    if (isLzma) this.#lzmaChunk(control);
    else this.#plainChunk();
    return true;
  }

  #lzmaChunk(control: number): void {
    const unpackedLength = ((control & 0x1f) << 16) + this.#word() + 1;
    const packedLength = this.#word() + 1;
    if (control >= 0xc0) {
      this.#lzma.setProperties(this.#byte());
      this.#needsProperties = false;
      this.#needsState = false;
    } else if (this.#needsProperties) throw damaged('a chunk without properties');
    else if (control >= 0xa0) {
      this.#lzma.resetState();
      this.#needsState = false;
    } else if (this.#needsState) throw damaged('a chunk without a state');
    const end = this.#from + packedLength;
    if (end > this.#packed.length) throw damaged('it ends too soon');
    if (this.#at + unpackedLength > this.#target.length) throw damaged('it holds more than a block');
    this.#lzma.unpack(this.#from, end, this.#at, this.#at + unpackedLength);
    this.#from = end;
    this.#at += unpackedLength;
  }

  #plainChunk(): void {
    const length = this.#word() + 1;
    const end = this.#from + length;
    if (end > this.#packed.length) throw damaged('it ends too soon');
    if (this.#at + length > this.#target.length) throw damaged('it holds more than a block');
    this.#target.set(this.#packed.subarray(this.#from, end), this.#at);
    this.#from = end;
    this.#at += length;
    this.#needsState = true;
  }

  #byte(): number {
    const byte = this.#packed[this.#from++];
    if (byte === undefined) throw damaged('it ends too soon');
    return byte;
  }

  #word(): number {
    const high = this.#byte();
    return (high << 8) | this.#byte();
  }
}

/**
 * The LZMA decoder. Range and code are 32 bits, kept as signed numbers: those fit into a field without an object of
 * their own. Reads past a chunk's end give zeros, and are told of when the chunk is done.
 */
class Lzma {
  readonly #packed: Uint8Array;
  readonly #target: Uint8Array;
  readonly #odds = new Uint16Array(mostProbabilities);
  #from = 0;
  #range = 0;
  #code = 0;
  #state = 0;
  #rep0 = 0;
  #rep1 = 0;
  #rep2 = 0;
  #rep3 = 0;
  #dictionary = 0;
  #literalContext = 0;
  #literalPositions = 0;
  #positions = 0;

  constructor(packed: Uint8Array, target: Uint8Array) {
    this.#packed = packed;
    this.#target = target;
  }

  dictionaryFrom(at: number): void {
    this.#dictionary = at;
  }

  setProperties(byte: number): void {
    const rest = Math.floor(byte / 9);
    const context = byte % 9;
    const literalPositions = rest % 5;
    const positions = Math.floor(rest / 5);
    if (positions > 4 || context + literalPositions > 4) throw damaged('unknown properties');
    this.#literalContext = context;
    this.#literalPositions = (1 << literalPositions) - 1;
    this.#positions = (1 << positions) - 1;
    this.resetState();
  }

  resetState(): void {
    this.#odds.fill(evenOdds);
    this.#state = 0;
    this.#rep0 = 0;
    this.#rep1 = 0;
    this.#rep2 = 0;
    this.#rep3 = 0;
  }

  unpack(from: number, fromEnd: number, start: number, end: number): void {
    const packed = this.#packed;
    if (fromEnd - from < 5) throw damaged('a chunk is too short');
    this.#range = -1;
    this.#code =
      ((packed[from + 1] as number) << 24) |
      ((packed[from + 2] as number) << 16) |
      ((packed[from + 3] as number) << 8) |
      (packed[from + 4] as number);
    this.#from = from + 5;
    for (let at = start; at < end; ) {
      const position = (at - this.#dictionary) & this.#positions;
      if (this.#bit(isMatch + (this.#state << 4) + position) === 0) {
        this.#literal(at++);
        continue;
      }
      const length = this.#bit(isRep + this.#state) === 0 ? this.#newMatch(position) : this.#repeat(position);
      const distance = this.#rep0 + 1;
      if (distance <= 0 || distance > at - this.#dictionary || at + length > end)
        throw damaged('a match leaves the block');
      const target = this.#target;
      for (const stop = at + length; at < stop; at++) target[at] = target[at - distance] as number;
      if (this.#from > fromEnd) throw damaged('a chunk ends too soon');
    }
    this.#normalize();
    if (this.#from !== fromEnd || this.#code !== 0) throw damaged('a chunk does not end where it should');
  }

  #literal(at: number): void {
    const place = at - this.#dictionary;
    const before = place === 0 ? 0 : (this.#target[at - 1] as number);
    const context =
      ((place & this.#literalPositions) << this.#literalContext) + (before >> (8 - this.#literalContext));
    const base = literals + context * 0x300;
    let symbol = 1;
    if (this.#state >= 7) {
      if (this.#rep0 >= place) throw damaged('a match leaves the block');
      let matched = this.#target[at - this.#rep0 - 1] as number;
      let offset = 0x100;
      while (symbol < 0x100) {
        matched <<= 1;
        const matchBit = matched & offset;
        const bit = this.#bit(base + offset + matchBit + symbol);
        symbol = (symbol << 1) | bit;
        offset &= bit === 0 ? ~matchBit : matchBit;
      }
    } else while (symbol < 0x100) symbol = (symbol << 1) | this.#bit(base + symbol);
    this.#target[at] = symbol;
    this.#state = this.#state < 4 ? 0 : this.#state < 10 ? this.#state - 3 : this.#state - 6;
  }

  /** A match of a new distance; gives its length. */
  #newMatch(position: number): number {
    this.#rep3 = this.#rep2;
    this.#rep2 = this.#rep1;
    this.#rep1 = this.#rep0;
    this.#state = this.#state < 7 ? 7 : 10;
    const length = this.#length(matchLengths, position);
    const slot = this.#tree(slots + (Math.min(length, 5) - 2) * 64, 6);
    if (slot < 4) {
      this.#rep0 = slot;
      return length;
    }
    const bits = (slot >> 1) - 1;
    const high = (2 | (slot & 1)) << bits;
    this.#rep0 =
      slot < 14
        ? high + this.#reverseTree(specials + high - slot, bits)
        : (high + (this.#direct(bits - 4) << 4) + this.#reverseTree(align, 4)) | 0;
    return length;
  }

  /** A match of a distance that was used before; gives its length. */
  #repeat(position: number): number {
    const state = this.#state;
    if (this.#bit(isRepG0 + state) === 0) {
      if (this.#bit(isRep0Long + (state << 4) + position) === 0) {
        this.#state = state < 7 ? 9 : 11;
        return 1;
      }
    } else {
      let distance = this.#rep1;
      if (this.#bit(isRepG1 + state) !== 0) {
        distance = this.#rep2;
        if (this.#bit(isRepG2 + state) !== 0) {
          distance = this.#rep3;
          this.#rep3 = this.#rep2;
        }
        this.#rep2 = this.#rep1;
      }
      this.#rep1 = this.#rep0;
      this.#rep0 = distance;
    }
    this.#state = state < 7 ? 8 : 11;
    return this.#length(repLengths, position);
  }

  #length(base: number, position: number): number {
    if (this.#bit(base) === 0) return 2 + this.#tree(base + 2 + position * 8, 3);
    if (this.#bit(base + 1) === 0) return 10 + this.#tree(base + 2 + 128 + position * 8, 3);
    return 18 + this.#tree(base + 2 + 256, 8);
  }

  #tree(base: number, bits: number): number {
    let symbol = 1;
    for (let left = bits; left > 0; left--) symbol = (symbol << 1) | this.#bit(base + symbol);
    return symbol - (1 << bits);
  }

  #reverseTree(base: number, bits: number): number {
    let symbol = 1;
    let value = 0;
    for (let place = 0; place < bits; place++) {
      const bit = this.#bit(base + symbol);
      symbol = (symbol << 1) | bit;
      value |= bit << place;
    }
    return value;
  }

  #direct(bits: number): number {
    let value = 0;
    for (let left = bits; left > 0; left--) {
      this.#normalize();
      this.#range = this.#range >>> 1;
      const bit = this.#code >>> 0 >= this.#range ? 1 : 0;
      if (bit === 1) this.#code = (this.#code - this.#range) | 0;
      value = (value << 1) | bit;
    }
    return value;
  }

  #bit(index: number): number {
    this.#normalize();
    const odds = this.#odds[index] as number;
    const bound = Math.imul(this.#range >>> 11, odds);
    if (this.#code >>> 0 < bound >>> 0) {
      this.#range = bound;
      this.#odds[index] = odds + ((2048 - odds) >> 5);
      return 0;
    }
    this.#range = (this.#range - bound) | 0;
    this.#code = (this.#code - bound) | 0;
    this.#odds[index] = odds - (odds >> 5);
    return 1;
  }

  #normalize(): void {
    if ((this.#range & 0xff000000) !== 0) return;
    this.#range <<= 8;
    this.#code = (this.#code << 8) | (this.#packed[this.#from++] ?? 0);
  }
}

function damaged(how: string): StillError {
  return new StillError('EIO', `LZMA2 data is damaged: ${how}`);
}
