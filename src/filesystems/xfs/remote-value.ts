import { StillError } from '../../errors.js';
import { Addresses } from './addresses.js';
import type { ForkMap } from './extent-records.js';
import { placesOf } from './fork.js';
import { blockKinds, type MetadataBlocks } from './metadata-blocks.js';

/** struct xfs_attr3_rmt_hdr, since version 5 at the front of each block. */
const headerV5 = 56;

/** The value of an attribute that lies in blocks of its own. EIO: it is damaged. */
export async function readValue(
  metadata: MetadataBlocks,
  inode: number,
  map: ForkMap,
  first: number,
  length: number,
  signal: AbortSignal,
): Promise<Buffer> {
  const { blockSize, version } = metadata.superblock;
  const addresses = new Addresses(metadata.superblock);
  const header = version === 5 ? headerV5 : 0;
  const value = Buffer.allocUnsafe(length);
  for (let at = 0, number = first; at < length; number++) {
    const bytes = Math.min(blockSize - header, length - at);
    const places = await placesOf(map, addresses, blockSize, number, 1, signal);
    const [place] = places ?? [];
    if (!places || !place)
      throw new StillError(
        'EIO',
        `an attribute of inode ${inode} is damaged: its block ${number} is missing`,
      );
    const block =
      version === 5
        ? await metadata.block(places, blockKinds.value, inode, signal)
        : await metadata.cache.bytes(place.offset, place.length, signal);
    if (version === 5 && (block.readUInt32BE(4) !== at || block.readUInt32BE(8) !== bytes))
      throw new StillError(
        'EIO',
        `an attribute of inode ${inode} is damaged: its block ${number} is another's`,
      );
    block.copy(value, at, header, header + bytes);
    at += bytes;
  }
  return value;
}
