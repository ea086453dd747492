import type { RestoredPart } from '../restored-part.js';

/** What a disk is restored to. Before anything is written it reads as zeros, or as whatever it held before. */
export interface DiskTarget extends RestoredPart {
  /** Writes all of `bytes`, which must not change before the call returns. */
  write(offset: number, bytes: Uint8Array, signal: AbortSignal): Promise<void>;
  /** Makes a range read as zeros. */
  zero(offset: number, length: number, signal: AbortSignal): Promise<void>;
  /** Brings onto the disk what was written. */
  settle(signal: AbortSignal): Promise<void>;
}
