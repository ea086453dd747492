/**
 * A number field of a tar header: octal digits between spaces or NULs (POSIX ustar), or big-endian two's complement
 * where the first bit is set (GNU's base 256). An empty field is 0; NaN: it holds no number, or one beyond 2^53.
 */
export function numberField(bytes: Uint8Array, at: number, length: number): number {
  const first = bytes[at] ?? 0;
  if (first >= 0x80) return base256(bytes, at, length);
  const end = at + length;
  let from = at;
  while (from < end && (bytes[from] === 0x20 || (bytes[from] === 0 && from === at))) from++;
  let value = 0;
  for (; from < end; from++) {
    const byte = bytes[from] ?? 0;
    if (byte === 0 || byte === 0x20) break;
    const digit = byte - 0x30;
    if (digit < 0 || digit > 7) return Number.NaN;
    value = value * 8 + digit;
  }
  return value <= Number.MAX_SAFE_INTEGER ? value : Number.NaN;
}

function base256(bytes: Uint8Array, at: number, length: number): number {
  const first = bytes[at] ?? 0;
  // The highest bit only marks the form; the next one is the sign.
  const negative = (first & 0x40) !== 0;
  let value = negative ? first - 0x100 : first & 0x3f;
  for (let each = at + 1; each < at + length; each++) value = value * 256 + (bytes[each] ?? 0);
  return Number.isSafeInteger(value) ? value : Number.NaN;
}

/** A number field that can't be negative: NaN where it is. */
export function countField(bytes: Uint8Array, at: number, length: number): number {
  const value = numberField(bytes, at, length);
  return value >= 0 ? value : Number.NaN;
}

/** Digits alone, below 2^53; NaN for anything else. */
export function decimal(bytes: Uint8Array, from = 0, to = bytes.length): number {
  if (from >= to || to - from > 16) return Number.NaN;
  let value = 0;
  for (let at = from; at < to; at++) {
    const digit = (bytes[at] ?? 0) - 0x30;
    if (digit < 0 || digit > 9) return Number.NaN;
    value = value * 10 + digit;
  }
  return Number.isSafeInteger(value) ? value : Number.NaN;
}

/** Digits alone, or a minus and digits; NaN for anything else. */
export function signedDecimal(bytes: Uint8Array, from = 0, to = bytes.length): number {
  return bytes[from] === 0x2d ? -decimal(bytes, from + 1, to) : decimal(bytes, from, to);
}
