import type { Disk } from '../../../src/disks/disk.js';
import { StillError } from '../../../src/errors.js';
import type { Extent } from '../../../src/extents.js';
import type {
  GuestDescription,
  GuestFile,
  GuestSource,
  Outcome,
  Snapshot,
  SnapshotDisk,
  SnapshotName,
} from '../../../src/guests/guest.js';
import { nameFromText } from '../../../src/name.js';
import type { Time } from '../../../src/time.js';
import type { Tree } from '../../../src/tree/tree.js';
import { MemoryDisk } from './memory-store.js';

/** A disk that can be given back in pieces of 4096 bytes: then it is data that can't be read. */
export class GivenBackDisk extends MemoryDisk {
  readonly #givenBack = new Set<number>();
  ended = false;

  override async read(offset: number, target: Uint8Array): Promise<void> {
    const pieces = await this.extents(offset, target.length);
    if (this.ended || pieces.some((piece) => this.#isGivenBack(piece.offset)))
      throw new StillError('EIO', 'given back, or ended');
    await super.read(offset, target);
  }

  override async extents(offset: number, length: number): Promise<Extent[]> {
    const extents = await super.extents(offset, length);
    return extents.flatMap((extent) => {
      const pieces: Extent[] = [];
      for (let at = extent.offset; at < extent.offset + extent.length; ) {
        const end = Math.min(at - (at % 4096) + 4096, extent.offset + extent.length);
        pieces.push({ ...extent, offset: at, length: end - at, zero: extent.zero && !this.#isGivenBack(at) });
        at = end;
      }
      return pieces;
    });
  }

  async discard(offset: number, length: number): Promise<void> {
    if (length <= 0 || offset + length > this.size)
      throw new StillError('EINVAL', 'a discard that leaves the disk');
    for (let at = offset; at < offset + length; at += 4096) this.#givenBack.add(Math.floor(at / 4096));
  }

  #isGivenBack(offset: number): boolean {
    return this.#givenBack.has(Math.floor(offset / 4096));
  }
}

/** 64 KiB of dirty data, as much of clean data, as much of clean zeros, and 1000 dirty bytes. */
export const someSnapshotDisk = (): GivenBackDisk =>
  new GivenBackDisk([
    { length: 65_536, zero: false, dirty: true },
    { length: 65_536, zero: false, dirty: false },
    { length: 65_536, zero: true, dirty: false },
    { length: 1000, zero: false, dirty: true },
  ]);

let lastId = 0;

export class MemorySnapshot implements Snapshot {
  readonly id = `id${++lastId}`;
  readonly rootfs?: () => Promise<Tree>;
  outcome: Outcome = 'pending';
  problems: readonly string[] = [];
  /** What `snapshot.json` says beside what it always does. */
  more: Record<string, unknown> = {};
  /** Where success can't be said any more. */
  broken = false;
  ends = 0;
  /** What the end waits for. */
  ending: Promise<void> = Promise.resolve();

  constructor(
    readonly guest: MemoryGuest,
    readonly name: SnapshotName,
    readonly time: Time,
    readonly files: readonly GuestFile[],
    readonly disks: readonly SnapshotDisk[],
    rootfs: (() => Promise<Tree>) | undefined,
  ) {
    if (rootfs) this.rootfs = rootfs;
  }

  describe(): Readonly<Record<string, unknown>> {
    const said = this.outcome === 'pending' ? {} : { recorded: true };
    return { id: this.id, name: this.name.folder, outcome: this.outcome, ...said, ...this.more };
  }

  async say(outcome: 'success' | 'failure'): Promise<void> {
    if (this.broken && outcome === 'success') throw new StillError('EIO', 'the snapshot is broken');
    this.outcome = outcome;
    this.guest.tell(this);
  }

  async end(): Promise<void> {
    this.ends++;
    await this.ending;
    this.guest.gone(this);
  }
}

/** A guest in memory: its snapshots are taken at once, unless a test has it otherwise. */
export class MemoryGuest implements GuestSource {
  readonly type = 'qemu';
  snapshots: readonly MemorySnapshot[] = [];
  files: GuestFile[] = [textFile('guest.conf', 'cores: 2\n')];
  description: GuestDescription & Readonly<Record<string, unknown>>;
  /** Disks by name: each snapshot opens its own. */
  disks = new Map<string, () => Promise<Disk>>([['drive-scsi0', async () => someSnapshotDisk()]]);
  readonly opened = new Set<Disk>();
  rootfs: (() => Promise<Tree>) | undefined;
  /** What an answer waits for. */
  answering: (signal: AbortSignal) => Promise<void> = async () => undefined;
  taking: (signal: AbortSignal) => Promise<void> = async () => undefined;
  seconds = 1_731_491_839; // 2024-11-13T09:57:19Z
  readonly #listeners = new Set<(snapshot: Snapshot) => void>();

  constructor(readonly id: string) {
    this.description = { id, type: 'qemu', state: 'running', disks: [], chains: [] };
  }

  async describe(signal: AbortSignal): Promise<GuestDescription> {
    await this.answering(signal);
    return this.description;
  }

  async configuration(signal: AbortSignal): Promise<readonly GuestFile[]> {
    await this.answering(signal);
    return this.files;
  }

  async take(name: SnapshotName, signal: AbortSignal): Promise<MemorySnapshot> {
    if (this.snapshots.some((other) => other.name.folder === name.folder))
      throw new StillError('EEXIST', `${name.folder} is there`);
    await this.taking(signal);
    const time = { seconds: this.seconds++, nanoseconds: 0 };
    const disks = [...this.disks].map(([disk, open]) => this.#disk(disk, open));
    const snapshot = new MemorySnapshot(this, name, time, this.files, disks, this.rootfs);
    this.snapshots = [...this.snapshots, snapshot];
    this.tell(snapshot);
    return snapshot;
  }

  watch(listener: (snapshot: Snapshot) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get watchers(): number {
    return this.#listeners.size;
  }

  async close(): Promise<void> {
    for (const snapshot of this.snapshots) await snapshot.end();
  }

  tell(snapshot: Snapshot): void {
    for (const listener of this.#listeners) listener(snapshot);
  }

  gone(snapshot: MemorySnapshot): void {
    for (const disk of this.opened) if (disk instanceof GivenBackDisk) disk.ended = true;
    this.snapshots = this.snapshots.filter((other) => other !== snapshot);
    this.tell(snapshot);
  }

  #disk(name: string, open: () => Promise<Disk>): SnapshotDisk {
    return {
      name: nameFromText(name),
      size: someSnapshotDisk().size,
      open: async () => {
        const disk = await open();
        this.opened.add(disk);
        return disk;
      },
    };
  }
}

export function textFile(name: string, text: string): GuestFile {
  return {
    name: nameFromText(name),
    bytes: Buffer.from(text),
    modified: { seconds: 1_700_000_000, nanoseconds: 0 },
  };
}
