/** A partition, as its table tells of it. Nothing says that it lies within the disk, or apart from the others. */
export interface Partition {
  /** From 1; logical partitions of an MBR from 5. */
  readonly number: number;
  /** Bytes from the disk's start. */
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
  /** As blkid(8) writes it. */
  readonly uuid?: string;
  readonly label?: string;
}

/** How many partitions of a disk are shown: Linux has no more than 256 (DISK_MAX_PARTS). */
export const mostPartitions = 256;
