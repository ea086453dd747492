import { StillError } from '../../errors.js';
import type { Addresses } from './addresses.js';
import { ExtentList, type ForkMap } from './extent-records.js';
import { ExtentTree } from './extent-tree.js';
import type { Fork } from './inode-forks.js';
import type { MetadataBlocks, Place } from './metadata-blocks.js';

/** The map of a fork that is not held in its inode. EIO: it is damaged, or is held there. */
export function mapOf(metadata: MetadataBlocks, inode: number, fork: Fork): ForkMap {
  switch (fork.format) {
    case 'extents':
      return new ExtentList(fork.bytes, fork.extents);
    case 'tree':
      return new ExtentTree(metadata, inode, fork.bytes);
    default:
      throw new StillError('EIO', `inode ${inode} is damaged: its bytes are told by no extents`);
  }
}

/** Where blocks of a fork lie on the disk. Undefined: one of them lies nowhere. */
export async function placesOf(
  map: ForkMap,
  addresses: Addresses,
  blockSize: number,
  first: number,
  count: number,
  signal: AbortSignal,
): Promise<readonly Place[] | undefined> {
  const places: Place[] = [];
  const end = first + count;
  for (let at = first; at < end; ) {
    const { extents } = map.runNow(at, end) ?? (await map.run(at, end, signal));
    const [extent] = extents;
    if (!extent || extent.first > at || extent.unwritten) return undefined;
    const blocks = Math.min(extent.first + extent.count, end) - at;
    const offset = addresses.ofBlocks(extent.block + at - extent.first, blocks);
    places.push({ offset, length: blocks * blockSize });
    at += blocks;
  }
  return places;
}
