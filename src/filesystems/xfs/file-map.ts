import type { FileMap, MappedExtent } from '../mapped-content.js';
import type { Addresses } from './addresses.js';
import type { ExtentRun, ForkMap } from './extent-records.js';

/** Where the bytes of a file lie. What was allocated and never written is nowhere: it reads as zeros. */
export function fileMap(map: ForkMap, addresses: Addresses, blockSize: number): FileMap {
  return async (offset, length, signal) => {
    const first = Math.floor(offset / blockSize);
    const end = Math.ceil((offset + length) / blockSize);
    const run = map.runNow(first, end) ?? (await map.run(first, end, signal));
    return mapped(run, first, addresses, blockSize);
  };
}

function mapped(
  { extents, until }: ExtentRun,
  first: number,
  addresses: Addresses,
  blockSize: number,
): MappedExtent[] {
  const rows: MappedExtent[] = [];
  const add = (from: number, to: number, place: number | undefined): void => {
    if (to > from) rows.push({ offset: from * blockSize, length: (to - from) * blockSize, place });
  };
  let at = first;
  for (const extent of extents) {
    add(at, extent.first, undefined);
    at = extent.first + extent.count;
    add(extent.first, at, extent.unwritten ? undefined : addresses.ofBlocks(extent.block, extent.count));
  }
  add(at, until, undefined);
  return rows;
}
