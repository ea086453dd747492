import { createHash } from 'node:crypto';
import type { Name } from '../name.js';
import { nameToBytes } from '../name.js';
import type { FileType } from '../tree/attributes.js';
import type { Row } from './node.js';

/** 63 bits of a hash of a path: where a name stands in its folder's listing, whatever comes and goes beside it. */
function placeOf(path: Name): bigint {
  const place = createHash('sha1').update(nameToBytes(path)).digest().readBigUInt64BE(0) >> 1n;
  return place === 0n ? 1n : place;
}

/** Rows whose cookies come from their paths, in listing order. */
export function rowsInOrder(rows: ReadonlyArray<{ name: Name; type: FileType; path: Name }>): Row[] {
  return rows.map((row) => ({ ...row, cookie: placeOf(row.path) })).sort(byCookie);
}

export function byCookie(a: Row, b: Row): number {
  if (a.cookie === b.cookie) return a.name < b.name ? -1 : 1;
  return a.cookie < b.cookie ? -1 : 1;
}

/** The rows after a cookie, about `count`: never so that rows with one cookie are parted. */
export function rowsAfter(rows: readonly Row[], after: bigint, count: number): readonly Row[] {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const row = rows[middle];
    if (row && row.cookie <= after) low = middle + 1;
    else high = middle;
  }
  let end = Math.min(low + count, rows.length);
  while (end < rows.length && rows[end]?.cookie === rows[end - 1]?.cookie) end++;
  return rows.slice(low, end);
}
