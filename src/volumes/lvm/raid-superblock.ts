import type { Disk } from '../../disks/disk.js';

// Linux: drivers/md/dm-raid.c (struct dm_raid_superblock)
const magic = 0x64526d44;
const superblockBytes = 512;
const extended = 1;
const wholly = 0xffff_ffff_ffff_ffffn;

/** What an image of a RAID volume says of itself and of the others, in its metadata volume. */
export interface RaidSuperblock {
  /** Which of the images it is. */
  readonly position: number;
  /** Goes up with each change: one that is behind has missed writes. */
  readonly events: bigint;
  /** The images that had failed, a bit each. */
  readonly failed: bigint;
  /** Whether all of the image was written when it was last made anew. */
  readonly isRecovered: boolean;
  readonly level: number;
  /** Where its data begins, in sectors: other than 0 after the volume's shape was changed. */
  readonly dataSector: bigint;
  readonly isReshaping: boolean;
}

/** Undefined: there is none, as before a volume's first use. */
export async function readRaidSuperblock(
  metadata: Disk,
  signal: AbortSignal,
): Promise<RaidSuperblock | undefined> {
  if (metadata.size < superblockBytes) return undefined;
  const bytes = Buffer.alloc(superblockBytes);
  await metadata.read(0, bytes, signal);
  if (bytes.readUInt32LE(0) !== magic) return undefined;
  const isExtended = (bytes.readUInt32LE(4) & extended) !== 0;
  return {
    position: bytes.readUInt32LE(12),
    events: bytes.readBigUInt64LE(16),
    failed: bytes.readBigUInt64LE(24),
    isRecovered: bytes.readBigUInt64LE(32) === wholly,
    level: bytes.readInt32LE(48),
    dataSector: isExtended ? bytes.readBigUInt64LE(96) : 0n,
    isReshaping: isExtended && (bytes.readUInt32LE(60) & 1) !== 0,
  };
}
