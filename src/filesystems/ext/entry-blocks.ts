/** The entries of a folder, a block at a time: blocks of the disk, or what is in its inode. */
export interface EntryBlocks {
  readonly count: number;
  /** Of a block; one may have fewer. */
  readonly bytes: number;
  /** EIO: it is damaged. */
  entries(index: number, signal: AbortSignal): Promise<Buffer>;
  /** A block of the index, whose own entries begin at `at`. EIO: it is damaged. */
  index(index: number, at: number, signal: AbortSignal): Promise<Buffer>;
  /** The first block after a hole that `index` is in; `index` where it is in none. */
  afterHole(index: number, signal: AbortSignal): Promise<number>;
}
