import type { Extent } from '../extents.js';

/**
 * Random access to the bytes of one disk, whatever holds them.
 *
 * Offsets and lengths are bytes, whole numbers below 2^53. Every wait ends early with the signal's reason when
 * `signal` is aborted.
 */
export interface Disk {
  /** The size of the disk in bytes. It does not change while the disk is open. */
  readonly size: number;

  /**
   * Fills the whole of `target` from `offset`, or fails (EIO: the bytes are damaged, missing, or were given back;
   * EINVAL: the range leaves the disk). After a failure or an abort a read may still be under way into `target`:
   * it must be thrown away, never used again.
   */
  read(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void>;

  /**
   * What is in a range: extents in ascending order, without gaps, the first beginning at `offset`. There is at least
   * one where length is not 0; they may end before the range does (ask again from there), never after it.
   * Neighbours may be of one kind.
   */
  extents(offset: number, length: number, signal?: AbortSignal): Promise<Extent[]>;

  /** Gives the bytes of a range back: it can't be read afterwards, and what held it is freed. */
  discard?(offset: number, length: number, signal?: AbortSignal): Promise<void>;

  /**
   * A descriptor of a regular file that holds the disk's bytes from its first to its last and nothing else, if there
   * is one, for the kernel to read directly. It stays the disk's own and is closed with it.
   */
  readonly passthrough?: number;

  /** Lets go of everything. Reads under way end or fail first. */
  close(): Promise<void>;
}
