import { StillError } from '../../errors.js';
import { Addresses } from './addresses.js';
import { mapOf } from './fork.js';
import type { InodeForks } from './inode-forks.js';
import { blockKinds, type MetadataBlocks } from './metadata-blocks.js';

/** struct xfs_dsymlink_hdr, since version 5 at the front of each extent. */
const headerV5 = 56;
/** XFS_SYMLINK_MAXLEN, which is with a terminating zero byte. */
const longestTarget = 1024;

/** The target of a symlink. EIO: it is damaged. */
export async function readTarget(
  metadata: MetadataBlocks,
  inode: InodeForks,
  signal: AbortSignal,
): Promise<Buffer> {
  const { number, size, data } = inode;
  if (size === 0 || size > longestTarget) throw damaged(number, `a target of ${size} bytes`);
  if (data.format === 'local') return data.bytes;
  const { blockSize, version } = metadata.superblock;
  const addresses = new Addresses(metadata.superblock);
  const header = version === 5 ? headerV5 : 0;
  const map = mapOf(metadata, number, data);
  const target = Buffer.allocUnsafe(size);
  for (let at = 0, first = 0; at < size; ) {
    // No more blocks than the rest can take up, were each an extent.
    const most = first + Math.ceil((size - at) / Math.max(blockSize - header, 1));
    const [extent] = (await map.run(first, most, signal)).extents;
    if (!extent || extent.first !== first || extent.unwritten)
      throw damaged(number, `its block ${first} is missing`);
    const place = {
      offset: addresses.ofBlocks(extent.block, extent.count),
      length: Math.min(extent.count, most - first) * blockSize,
    };
    const bytes =
      version === 5
        ? await metadata.block([place], blockKinds.symlink, number, signal)
        : await metadata.cache.bytes(place.offset, place.length, signal);
    const here = Math.min(bytes.length - header, size - at);
    if (version === 5 && (bytes.readUInt32BE(4) !== at || bytes.readUInt32BE(8) !== here))
      throw damaged(number, `its block ${first} is another's`);
    bytes.copy(target, at, header, header + here);
    at += here;
    first += extent.count;
  }
  return target;
}

function damaged(inode: number, how: string): StillError {
  return new StillError('EIO', `symlink ${inode} is damaged: ${how}`);
}
