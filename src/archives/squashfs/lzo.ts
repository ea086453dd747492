import { StillError } from '../../errors.js';

/** Unpacks a stream of LZO1X of `most` bytes at most. EIO: it is damaged. */
export function unpackLzo(packed: Uint8Array, most: number): Uint8Array {
  return new Lzo(packed, most).unpack();
}

/**
 * The format is that of Documentation/staging/lzo.rst in Linux. What an instruction below 16 means hangs on how many
 * literals were copied just before it: that is the state, 4 standing for a run of them.
 */
class Lzo {
  readonly #packed: Uint8Array;
  readonly #target: Buffer;
  #from = 0;
  #at = 0;

  constructor(packed: Uint8Array, most: number) {
    this.#packed = packed;
    this.#target = Buffer.allocUnsafe(most);
  }

  unpack(): Uint8Array {
    let state = 0;
    const first = this.#packed[0] ?? 0;
    if (first > 17) {
      this.#from = 1;
      this.#literals(first - 17);
      state = Math.min(first - 17, 4);
    }
    for (;;) {
      const instruction = this.#byte();
      if (instruction < 16 && state === 0) {
        this.#literals(3 + this.#length(instruction, 15));
        state = 4;
        continue;
      }
      if (instruction >= 64) {
        const length = instruction >= 128 ? 5 + ((instruction >> 5) & 3) : 3 + ((instruction >> 5) & 1);
        this.#match((this.#byte() << 3) + ((instruction >> 2) & 7) + 1, length);
        state = instruction & 3;
      } else if (instruction >= 32) {
        const length = 2 + this.#length(instruction & 31, 31);
        const low = this.#byte();
        this.#match((low >> 2) + (this.#byte() << 6) + 1, length);
        state = low & 3;
      } else if (instruction >= 16) {
        const length = 2 + this.#length(instruction & 7, 7);
        const low = this.#byte();
        const distance = 16384 + ((instruction & 8) << 11) + (low >> 2) + (this.#byte() << 6);
        if (distance === 16384) return this.#target.subarray(0, this.#at);
        this.#match(distance, length);
        state = low & 3;
      } else {
        const near = (this.#byte() << 2) + (instruction >> 2) + 1;
        if (state === 4) this.#match(near + 2048, 3);
        else this.#match(near, 2);
        state = instruction & 3;
      }
      this.#literals(state);
    }
  }

  #byte(): number {
    const byte = this.#packed[this.#from++];
    if (byte === undefined) throw damaged('it ends too soon');
    return byte;
  }

  /** A length that is in the instruction, or, where that is 0, in the bytes after it. */
  #length(short: number, base: number): number {
    if (short !== 0) return short;
    for (let length = base; ; length += 255) {
      const byte = this.#byte();
      if (byte !== 0) return length + byte;
    }
  }

  #literals(length: number): void {
    const end = this.#from + length;
    if (end > this.#packed.length || this.#at + length > this.#target.length)
      throw damaged('literals leave the block');
    if (length > 32) {
      this.#target.set(this.#packed.subarray(this.#from, end), this.#at);
      this.#at += length;
    } else {
      for (let from = this.#from; from < end; from++) this.#target[this.#at++] = this.#packed[from] as number;
    }
    this.#from = end;
  }

  #match(distance: number, length: number): void {
    const target = this.#target;
    let at = this.#at;
    const end = at + length;
    if (distance > at || end > target.length) throw damaged('a match leaves the block');
    if (length > 32 && distance >= length) target.copyWithin(at, at - distance, end - distance);
    else for (; at < end; at++) target[at] = target[at - distance] as number;
    this.#at = end;
  }
}

function damaged(how: string): StillError {
  return new StillError('EIO', `an LZO block is damaged: ${how}`);
}
