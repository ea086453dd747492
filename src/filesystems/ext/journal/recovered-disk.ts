import type { Disk } from '../../../disks/disk.js';
import { StillError } from '../../../errors.js';
import type { Extent } from '../../../extents.js';
import { journalMagic } from './journal-superblock.js';
import type { LogBlocks } from './log-blocks.js';
import type { LoggedBlocks } from './logged-blocks.js';

/** A disk as it is after its file system's recovery: what is in the log is read from there. The disk itself is never written to. */
export class RecoveredDisk implements Disk {
  readonly size: number;
  readonly #disk: Disk;
  readonly #blockBytes: number;
  readonly #logged: LoggedBlocks;
  readonly #log: LogBlocks;

  constructor(disk: Disk, blockBytes: number, logged: LoggedBlocks, log: LogBlocks) {
    this.size = disk.size;
    this.#disk = disk;
    this.#blockBytes = blockBytes;
    this.#logged = logged;
    this.#log = log;
  }

  async read(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    const logged = this.#within(offset, target.length);
    const whole = target.length / this.#blockBytes;
    if (logged.length < whole || offset % this.#blockBytes !== 0)
      await this.#disk.read(offset, target, signal);
    await Promise.all(logged.map((block) => this.#patch(block, offset, target, signal)));
  }

  async extents(offset: number, length: number, signal?: AbortSignal): Promise<Extent[]> {
    const extents = await this.#disk.extents(offset, length, signal);
    return extents.map((extent) =>
      extent.zero && this.#within(extent.offset, extent.length).length > 0
        ? { ...extent, zero: false }
        : extent,
    );
  }

  close(): Promise<void> {
    return this.#disk.close();
  }

  #within(offset: number, length: number): number[] {
    if (length === 0) return [];
    return this.#logged.within(
      Math.floor(offset / this.#blockBytes),
      Math.ceil((offset + length) / this.#blockBytes),
    );
  }

  /** EIO: the block in the log is not what was written there. */
  async #patch(block: number, offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    const logged = this.#logged.get(block);
    if (!logged) return;
    const bytes = Buffer.allocUnsafe(this.#blockBytes);
    await this.#disk.read(logged.place * this.#blockBytes, bytes, signal);
    if (!this.#log.isBlockIntact(bytes, logged.sequence, logged.checksum))
      throw new StillError(
        'EIO',
        `block ${block} of the ext file system is damaged in its journal: its checksum is wrong`,
      );
    if (logged.escaped) bytes.writeUInt32BE(journalMagic, 0);
    const start = block * this.#blockBytes;
    const from = Math.max(offset, start);
    const to = Math.min(offset + target.length, start + this.#blockBytes);
    target.set(bytes.subarray(from - start, to - start), from - offset);
  }
}
