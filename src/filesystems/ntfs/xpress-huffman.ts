import { StillError } from '../../errors.js';

// [MS-XCA] section 2.2: LZ77+Huffman
const symbols = 512;
const tableBytes = symbols / 2;
const longestCode = 15;
const firstMatch = 256;
const shortestMatch = 3;
/** So many bits lead to a symbol at once; longer codes are rare. */
const codes = 1 << longestCode;

/** Unpacks one chunk of XPRESS with Huffman codes into all of `target`. EIO: the bytes are damaged. */
export function unpackXpress(packed: Uint8Array, target: Uint8Array): void {
  if (packed.length < tableBytes + 4) throw damaged(`${packed.length} bytes are too few`);
  const lengths = Uint8Array.from({ length: symbols }, (_, symbol) => {
    const pair = packed[symbol >>> 1] ?? 0;
    return symbol % 2 === 0 ? pair & 15 : pair >>> 4;
  });
  const table = codeTable(lengths);
  let from = tableBytes;
  const word = (): number => {
    const value = (packed[from] ?? 0) | ((packed[from + 1] ?? 0) << 8);
    from += 2;
    return value;
  };
  // At least 16 bits are kept, the next one highest: bytes between the words lie behind what has been taken.
  let bits = (word() << 16) | word();
  let spare = 16;
  const take = (count: number): void => {
    bits <<= count;
    spare -= count;
    if (spare >= 0) return;
    bits |= word() << -spare;
    spare += 16;
  };
  for (let to = 0; to < target.length; ) {
    // The last word may lie beyond the end, for it is taken before it is needed.
    if (from > packed.length + 4) throw damaged('it ends too early');
    const symbol = table[bits >>> (32 - longestCode)] ?? 0;
    take(lengths[symbol] ?? 0);
    if (symbol < firstMatch) {
      target[to++] = symbol;
      continue;
    }
    let length = symbol & 15;
    if (length === 15) {
      const more = packed[from++] ?? 0;
      length += more;
      if (more === 255) {
        length = word();
        if (length === 0) length = word() | (word() << 16);
      }
    }
    length += shortestMatch;
    const distanceBits = (symbol - firstMatch) >>> 4;
    const back = (1 << distanceBits) + (distanceBits === 0 ? 0 : bits >>> (32 - distanceBits));
    take(distanceBits);
    if (back > to || length < shortestMatch || length > target.length - to)
      throw damaged(`a copy of ${length} bytes from ${back} before, at ${to}`);
    for (const end = to + length; to < end; to++) target[to] = target[to - back] ?? 0;
  }
}

/** Which symbol the next bits stand for: canonical codes, shorter ones first, in the order of their symbols. */
function codeTable(lengths: Uint8Array): Uint16Array {
  const table = new Uint16Array(codes);
  let at = 0;
  for (let length = 1; length <= longestCode; length++) {
    const each = 1 << (longestCode - length);
    for (let symbol = 0; symbol < symbols; symbol++) {
      if (lengths[symbol] !== length) continue;
      if (at + each > codes) throw damaged('its codes overlap');
      table.fill(symbol, at, at + each);
      at += each;
    }
  }
  if (at !== codes) throw damaged('its codes are not complete');
  return table;
}

function damaged(how: string): StillError {
  return new StillError('EIO', `a chunk of a file that Windows has compressed is damaged: ${how}`);
}
