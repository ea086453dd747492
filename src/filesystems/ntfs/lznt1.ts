import { StillError } from '../../errors.js';

const chunkBytes = 4096;
const headerOf = { length: 0x0fff, compressed: 0x8000 } as const;

/**
 * Unpacks LZNT1 ([MS-XCA] section 2.5) into all of `target`: chunks of 4 KiB, what follows the last one is zeros. EIO: the bytes are
 * damaged.
 */
export function unpackLznt1(packed: Uint8Array, target: Uint8Array): void {
  let from = 0;
  let to = 0;
  while (to < target.length && from + 2 <= packed.length) {
    const header = (packed[from] ?? 0) | ((packed[from + 1] ?? 0) << 8);
    if (header === 0) break;
    const begin = from + 2;
    from = begin + (header & headerOf.length) + 1;
    if (from > packed.length) throw damaged(`a chunk of ${from - begin} bytes leaves its unit`);
    const end = Math.min(to + chunkBytes, target.length);
    if ((header & headerOf.compressed) !== 0) {
      unpackChunk(packed, begin, from, target, to, end);
    } else {
      const length = Math.min(from - begin, end - to);
      target.set(packed.subarray(begin, begin + length), to);
      target.fill(0, to + length, end);
    }
    to = end;
  }
  target.fill(0, to);
}

/** Groups of eight: a byte of flags, then for each a byte as it is (0), or two of how far back and how long to copy (1). */
function unpackChunk(
  packed: Uint8Array,
  begin: number,
  end: number,
  target: Uint8Array,
  start: number,
  limit: number,
): void {
  let from = begin;
  let to = start;
  // How many of the sixteen bits tell the length: fewer, the more there is to go back to.
  let lengthBits = 12;
  let reach = start + 16;
  while (from < end) {
    let flags = packed[from++] ?? 0;
    for (let left = 8; left > 0 && from < end; left--, flags >>>= 1) {
      if ((flags & 1) === 0) {
        if (to >= limit) throw damaged('a chunk holds more than 4 KiB');
        target[to++] = packed[from++] ?? 0;
        continue;
      }
      if (from + 2 > end) throw damaged('a chunk ends within a copy');
      const pair = (packed[from] ?? 0) | ((packed[from + 1] ?? 0) << 8);
      from += 2;
      while (to > reach) {
        reach = start + (reach - start) * 2;
        lengthBits--;
      }
      const length = (pair & ((1 << lengthBits) - 1)) + 3;
      const back = (pair >>> lengthBits) + 1;
      if (back > to - start || length > limit - to)
        throw damaged(`a copy of ${length} bytes from ${back} before, at ${to - start}`);
      for (let copied = 0; copied < length; copied++, to++) target[to] = target[to - back] ?? 0;
    }
  }
  target.fill(0, to, limit);
}

function damaged(how: string): StillError {
  return new StillError('EIO', `compressed data of the NTFS volume are damaged: ${how}`);
}
