import { StillError } from '../../errors.js';
import type { Name } from '../../name.js';
import { encodePosixAcl } from '../../posix-acl.js';
import { aclNames, parseAcl } from './acl.js';
import { Addresses } from './addresses.js';
import { type AttributeRow, parseAttributeLeaf, parseShortAttributes } from './attribute-rows.js';
import type { ForkMap } from './extent-records.js';
import { mapOf, placesOf } from './fork.js';
import { findLeaf, layoutOf, nextLeaf } from './hash-tree.js';
import type { Fork } from './inode-forks.js';
import { blockKinds, type MetadataBlocks } from './metadata-blocks.js';
import { readValue } from './remote-value.js';

/** All values of a file together, bytes: XFS itself sets no limit, memory does. */
const mostBytes = 16 * 1024 * 1024;
/** A file has no more names than listxattr(2) can give: 64 KiB. */
const mostRows = 32768;

const prefixes = { user: 'user.', trusted: 'trusted.', security: 'security.' } as const;

/** The extended attributes of an inode as Linux shows them. EIO: they are damaged, or more than are kept in memory. */
export async function readAttributes(
  metadata: MetadataBlocks,
  inode: number,
  fork: Fork,
  signal: AbortSignal,
): Promise<ReadonlyMap<Name, Uint8Array>> {
  const shown = new Map<Name, Uint8Array>();
  let bytes = 0;
  let rows = 0;
  const add = (row: AttributeRow, value: Buffer): void => {
    bytes += value.length;
    rows += 1;
    if (bytes > mostBytes || rows > mostRows)
      throw new StillError(
        'EIO',
        `the attributes of inode ${inode} are more than are read: ${rows}, ${bytes} bytes`,
      );
    const acl = row.space === 'trusted' ? aclNames.get(row.name) : undefined;
    if (acl === undefined) shown.set(`${prefixes[row.space]}${row.name}` as Name, value);
    else shown.set(acl, encodePosixAcl(parseAcl(value, inode)));
  };
  if (fork.format === 'local') {
    for (const row of parseShortAttributes(fork.bytes, inode)) {
      // Those of a short form are all in it.
      if (row.value) add(row, Buffer.from(row.value));
    }
    return shown;
  }
  const map = mapOf(metadata, inode, fork);
  for await (const leaf of leavesOf(metadata, inode, map, signal)) {
    for (const row of parseAttributeLeaf(leaf, inode, metadata.superblock)) {
      const value = row.value
        ? Buffer.from(row.value)
        : await readValue(metadata, inode, map, row.block, row.length, signal);
      add(row, value);
    }
  }
  return shown;
}

/** The leaves of the tree of an attribute fork, from the smallest hash on. */
async function* leavesOf(
  metadata: MetadataBlocks,
  inode: number,
  map: ForkMap,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const { blockSize, version } = metadata.superblock;
  const addresses = new Addresses(metadata.superblock);
  const block = async (number: number): Promise<Buffer> => {
    const places = await placesOf(map, addresses, blockSize, number, 1, signal);
    if (!places)
      throw new StillError('EIO', `the attributes of inode ${inode} are damaged: block ${number} is missing`);
    return metadata.block(places, blockKinds.attributeTree, inode, signal);
  };
  const seen = new Set<number>();
  for (let leaf = await findLeaf(0, 0, layoutOf(version), block); leaf; ) {
    yield leaf;
    const next = nextLeaf(leaf);
    if (next === 0) return;
    if (seen.has(next)) throw new StillError('EIO', `the attributes of inode ${inode} go in circles`);
    seen.add(next);
    leaf = await block(next);
  }
}
