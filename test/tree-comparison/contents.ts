import { closeSync, constants, openSync, readSync } from 'node:fs';
import { seekSync } from './file-calls.js';

const piece = 1024 * 1024;
const left = Buffer.alloc(piece);
const right = Buffer.alloc(piece);
/** From this size on, what both files call a hole is not read. */
const large = 1024 * 1024 * 1024;

/** Opens two files for a comparison, and closes them again. */
export function withOpen<T>(
  expected: Buffer,
  actual: Buffer,
  use: (expected: number, actual: number) => T,
): T {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW;
  const first = openSync(expected, flags | constants.O_NOATIME);
  try {
    const second = openSync(actual, flags);
    try {
      return use(first, second);
    } finally {
      closeSync(second);
    }
  } finally {
    closeSync(first);
  }
}

/** The offset of the first byte that differs in two open files of one size; undefined where they are the same. */
export function firstDifference(expected: number, actual: number, size: number): number | undefined {
  for (let offset = 0; offset < size; ) {
    if (size >= large) {
      const data = Math.min(
        seekSync(expected, offset, 'data') ?? size,
        seekSync(actual, offset, 'data') ?? size,
      );
      if (data > offset) {
        offset = data;
        continue;
      }
    }
    const length = Math.min(piece, size - offset);
    const inExpected = fill(expected, left, offset, length);
    const inActual = fill(actual, right, offset, length);
    if (inExpected !== inActual || left.compare(right, 0, inActual, 0, inExpected) !== 0) {
      for (let at = 0; ; at++)
        if (at === inExpected || at === inActual || left[at] !== right[at]) return offset + at;
    }
    if (inExpected < length) return undefined;
    offset += length;
  }
  return undefined;
}

/** Where the data of an open file is, as `begin-end` pairs. */
export function dataRanges(descriptor: number, size: number): string {
  const ranges: string[] = [];
  for (let offset = 0; offset < size; ) {
    const begin = seekSync(descriptor, offset, 'data');
    if (begin === undefined) break;
    offset = seekSync(descriptor, begin, 'hole') ?? size;
    ranges.push(`${begin}-${offset}`);
  }
  return ranges.join(' ');
}

function fill(descriptor: number, target: Buffer, offset: number, length: number): number {
  let filled = 0;
  while (filled < length) {
    const more = readSync(descriptor, target, filled, length - filled, offset + filled);
    if (more === 0) break;
    filled += more;
  }
  return filled;
}
