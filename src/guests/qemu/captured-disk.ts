import type { Disk } from '../../disks/disk.js';
import { mustLieWithin } from '../../disks/disk-range.js';
import type { NbdDisk } from '../../disks/nbd/nbd-disk.js';
import { ReadAhead } from '../../disks/read-ahead.js';
import { isAbort, StillError } from '../../errors.js';
import { type Extent, joined } from '../../extents.js';
import { type ByteRange, ByteRanges, GivenBack } from './given-back.js';

export interface CapturedDiskFacts {
  /** The hypervisor's name of the disk, for messages. */
  readonly name: string;
  readonly granuleBytes: number;
  /** Only what is dirty can be read. */
  readonly limited: boolean;
  /** Where the disk ended at its base; all beyond is dirty. Null where all is dirty anyway. */
  readonly baseSizeBytes: number | null;
  /** Why nothing of the snapshot can be read any more; undefined while it can. */
  readonly broken: () => string | undefined;
  /** Called when QEMU does not give what it should. */
  readonly failed: (error: unknown) => void;
}

/** A guest's disk as it was at the snapshot's instant, over QEMU's export of it. */
export class CapturedDisk implements Disk {
  readonly size: number;
  readonly #exported: NbdDisk;
  readonly #facts: CapturedDiskFacts;
  readonly #givenBack: GivenBack;
  /** Not of a limited disk: what comes next may be what QEMU refuses. */
  readonly #ahead: ReadAhead | undefined;

  constructor(exported: NbdDisk, facts: CapturedDiskFacts) {
    this.size = exported.size;
    this.#exported = exported;
    this.#facts = facts;
    this.#givenBack = new GivenBack(exported.size, facts.granuleBytes);
    if (!facts.limited) this.#ahead = new ReadAhead((...asked) => exported.read(...asked), exported.size);
  }

  async read(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    const length = target.byteLength;
    mustLieWithin(this, this.#facts.name, offset, length);
    if (length === 0) return;
    this.#mustBeWhole();
    const givenBack = this.#givenBackOf(offset, length);
    if (givenBack) throw givenBack;
    if (this.#facts.limited) await this.#mustBeDirty(offset, length, signal);
    // It may be given back meanwhile: that QEMU refuses it then is no fault of the snapshot. Neither is a bad sector of the disk.
    const reading = (this.#ahead ?? this.#exported).read(offset, target, signal);
    await this.#watched(reading, async () => this.#givenBackOf(offset, length) ?? this.#isMapped(offset));
  }

  async extents(offset: number, length: number, signal?: AbortSignal): Promise<Extent[]> {
    mustLieWithin(this, this.#facts.name, offset, length);
    this.#mustBeWhole();
    const told = await this.#told({ from: offset, to: offset + length }, signal);
    return joined(told.flatMap((extent) => [...this.#shown(extent)]));
  }

  /** What is given back can't be read from now on. Its space is freed as soon as whole granules of it are complete. */
  async discard(offset: number, length: number, signal?: AbortSignal): Promise<void> {
    mustLieWithin(this, this.#facts.name, offset, length);
    if (length === 0) return;
    this.#mustBeWhole();
    const complete = this.#givenBack.add({ from: offset, to: offset + length });
    this.#ahead?.drop();
    if (!this.#exported.discard) return;
    for (const range of complete) {
      const dirty = await this.#dirtyOf(range, signal);
      // Of a limited disk QEMU keeps no more than that, and refuses all else.
      for (const part of this.#facts.limited ? dirty : [range]) {
        const { from, to } = this.#givenBack.granulesIn(part);
        if (from >= to) continue;
        this.#givenBack.letGo({ from, to }, dirty);
        await this.#watched(this.#exported.discard(from, to - from, signal));
      }
    }
  }

  /** Why there is no way to QEMU any more; undefined while there is. */
  get lost(): StillError | undefined {
    return this.#exported.lost;
  }

  async close(): Promise<void> {
    this.#ahead?.drop();
    await this.#exported.close();
  }

  /** The disk as a user gets it, who may close it: the connections stay. */
  lent(): Disk {
    return {
      size: this.size,
      read: (offset, target, signal) => this.read(offset, target, signal),
      extents: (offset, length, signal) => this.extents(offset, length, signal),
      discard: (offset, length, signal) => this.discard(offset, length, signal),
      close: async () => undefined,
    };
  }

  #mustBeWhole(): void {
    const broken = this.#facts.broken();
    if (broken !== undefined) throw new StillError('EIO', `${this.#facts.name} can't be read: ${broken}`);
  }

  /** Whether QEMU still tells what lies at an offset: of a snapshot that is broken it tells nothing. */
  async #isMapped(offset: number): Promise<boolean> {
    // The map of a limited disk is its bitmap's, which outlives the snapshot.
    if (this.#facts.limited) return false;
    return this.#exported.extents(offset, Math.min(this.size - offset, 4096)).then(
      () => true,
      () => false,
    );
  }

  async #mustBeDirty(offset: number, length: number, signal: AbortSignal | undefined): Promise<void> {
    const range = { from: offset, to: offset + length };
    const [first] = await this.#dirtyOf(range, signal);
    if (first?.from === range.from && first.to === range.to) return;
    const why = 'only what has changed can be read (readable: dirty)';
    throw new StillError('EIO', `${this.#where(offset, length)} has not changed: ${why}`);
  }

  /** What of a range is dirty by QEMU's own bitmap, joined. Of what lies beyond the base's end it has no old bytes for us. */
  async #dirtyOf(range: ByteRange, signal: AbortSignal | undefined): Promise<ByteRange[]> {
    const dirty = new ByteRanges();
    for (let { from } = range; from < range.to; ) {
      for (const extent of await this.#told({ from, to: range.to }, signal)) {
        from = extent.offset + extent.length;
        if (extent.dirty) dirty.add({ from: extent.offset, to: from });
      }
    }
    return [...dirty.pieces(range)].filter(({ within }) => within);
  }

  /**
   * The extents of a range, or of its beginning. QEMU refuses a request that touches what it has let go of: it is asked
   * about the rest alone, and once more where it has let go of something meanwhile.
   */
  async #told(range: ByteRange, signal: AbortSignal | undefined): Promise<Extent[]> {
    const told: Extent[] = [];
    const times = this.#givenBack.timesLetGo;
    const changed = (): boolean => this.#givenBack.timesLetGo !== times;
    for (const { from, to, gone } of [...this.#givenBack.told(range)]) {
      if (gone) {
        told.push({ offset: from, length: to - from, zero: false, dirty: gone.dirty });
        continue;
      }
      try {
        const extents = await this.#watched(this.#exported.extents(from, to - from, signal), changed);
        told.push(...extents);
      } catch (error) {
        if (!changed() || signal?.aborted) throw error;
        this.#mustBeWhole();
        return this.#told(range, signal);
      }
      const last = told.at(-1);
      if (!last || last.offset + last.length < to) break;
    }
    return told;
  }

  /** Has a failure count against the snapshot, unless it is excused. */
  async #watched<T>(work: Promise<T>, excuse: () => unknown = () => undefined): Promise<T> {
    try {
      return await work;
    } catch (error) {
      const interrupted = isAbort(error) || (error instanceof StillError && error.code === 'EINTR');
      if (!interrupted && !(await excuse())) this.#facts.failed(error);
      throw error;
    }
  }

  #givenBackOf(offset: number, length: number): StillError | undefined {
    if (!this.#givenBack.includesAnyOf({ from: offset, to: offset + length })) return undefined;
    return new StillError('EIO', `${this.#where(offset, length)} was given back and can't be read any more`);
  }

  /** An extent as users see it: grown parts are dirty, given-back ones data, clean ones of a limited disk data too. */
  *#shown(extent: Extent): Generator<Extent> {
    const { baseSizeBytes, limited } = this.#facts;
    const grownFrom = baseSizeBytes ?? 0;
    const end = extent.offset + extent.length;
    for (const { from, to, within } of this.#givenBack.pieces({ from: extent.offset, to: end })) {
      const zero = extent.zero && !within && !limited;
      for (const [start, stop] of [
        [from, Math.min(to, Math.max(from, grownFrom))],
        [Math.max(from, Math.min(to, grownFrom)), to],
      ] as const) {
        if (stop > start)
          yield { offset: start, length: stop - start, zero, dirty: extent.dirty || start >= grownFrom };
      }
    }
  }

  #where(offset: number, length: number): string {
    return `what lies at ${offset} to ${offset + length} of ${this.#facts.name}`;
  }
}
