import { StillError } from '../../errors.js';

// lz4_Block_format.md of the LZ4 project
const shortestMatch = 4;
const longRun = 15;

/** Unpacks an LZ4 block (without a frame) of `most` bytes at most. EIO: it is damaged. */
export function unpackLz4(packed: Uint8Array, most: number): Uint8Array {
  const target = Buffer.allocUnsafe(most);
  let from = 0;
  let at = 0;
  for (;;) {
    const token = packed[from++];
    if (token === undefined) throw damaged('it ends too soon');
    let literals = token >> 4;
    if (literals === longRun) {
      for (let more = 255; more === 255; literals += more) more = packed[from++] ?? fail('it ends too soon');
    }
    if (from + literals > packed.length || at + literals > most) throw damaged('literals leave the block');
    if (literals > 32) {
      target.set(packed.subarray(from, from + literals), at);
      from += literals;
      at += literals;
    } else {
      for (const end = from + literals; from < end; ) target[at++] = packed[from++] as number;
    }
    if (from === packed.length) return target.subarray(0, at);

    if (from + 2 > packed.length) throw damaged('it ends too soon');
    const distance = (packed[from] as number) | ((packed[from + 1] as number) << 8);
    from += 2;
    let length = token & 15;
    if (length === longRun) {
      for (let more = 255; more === 255; length += more) more = packed[from++] ?? fail('it ends too soon');
    }
    length += shortestMatch;
    if (distance === 0 || distance > at || at + length > most) throw damaged('a match leaves the block');
    if (length > 32 && distance >= length) {
      target.copyWithin(at, at - distance, at - distance + length);
      at += length;
    } else {
      for (const end = at + length; at < end; at++) target[at] = target[at - distance] as number;
    }
  }
}

function fail(how: string): never {
  throw damaged(how);
}

function damaged(how: string): StillError {
  return new StillError('EIO', `an LZ4 block is damaged: ${how}`);
}
