// The magic numbers of what tells when it was written, and where it tells it: the log sequence number and the UUID after it.
// struct xfs_btree_block, xfs_agf, xfs_agfl, xfs_agi, xfs_dsymlink_hdr, xfs_dir3_blk_hdr, xfs_da3_blkinfo, xfs_dsb
interface Place {
  readonly sequence: number;
  readonly uuid: number;
}

const shortTree: Place = { sequence: 24, uuid: 32 };
const longTree: Place = { sequence: 32, uuid: 40 };
const folder: Place = { sequence: 16, uuid: 24 };
const hashTree: Place = { sequence: 24, uuid: 32 };

const byMagic = new Map<number, Place>([
  ...[0x41423342, 0x41423343, 0x49414233, 0x46494233, 0x524d4233, 0x52334643].map(
    (magic) => [magic, shortTree] as const,
  ),
  [0x424d4133, longTree],
  [0x58414746, { sequence: 208, uuid: 64 }],
  [0x5841464c, { sequence: 24, uuid: 8 }],
  [0x58414749, { sequence: 320, uuid: 296 }],
  [0x58534c4d, { sequence: 48, uuid: 16 }],
  ...[0x58444233, 0x58444433, 0x58444633].map((magic) => [magic, folder] as const),
]);
const superblockMagic = 0x58465342;
const hashTreeMagics = new Set([0x3df1, 0x3dff, 0x3ebe, 0x3bee]);

/** What belongs to a file system of version 5. */
export interface Sealed {
  readonly metaUuid: Buffer;
  readonly hasMetaUuid: boolean;
}

/**
 * When what is in a buffer was written, as a log sequence number. Undefined: it does not tell, or is of another file
 * system, so that whatever the log has is newer.
 */
export function sequenceOf(bytes: Buffer, { metaUuid, hasMetaUuid }: Sealed): bigint | undefined {
  const magic = bytes.readUInt32BE(0);
  const place =
    magic === superblockMagic
      ? { sequence: 240, uuid: hasMetaUuid ? 248 : 32 }
      : (byMagic.get(magic) ?? (hashTreeMagics.has(bytes.readUInt16BE(8)) ? hashTree : undefined));
  if (!place || metaUuid.compare(bytes, place.uuid, place.uuid + 16) !== 0) return undefined;
  const sequence = bytes.readBigInt64BE(place.sequence);
  return sequence === 0n || sequence === -1n ? undefined : sequence;
}
