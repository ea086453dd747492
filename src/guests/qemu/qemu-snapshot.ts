import { extentsOf } from '../../disks/dirty-map/ranges.js';
import { openNbdDisk } from '../../disks/nbd/nbd-disk.js';
import { messageOf, StillError } from '../../errors.js';
import type { Logger } from '../../log.js';
import { nameFromText } from '../../name.js';
import { type Time, timeFromDate } from '../../time.js';
import type { GuestFile, Outcome, Snapshot, SnapshotDisk, SnapshotName } from '../guest.js';
import { SnapshotStanding } from '../snapshot-standing.js';
import type { Built } from './building.js';
import { CapturedDisk, type CapturedDiskFacts } from './captured-disk.js';
import type { ChainPlan } from './chain-plan.js';
import type { Drive, OmittedDrive } from './drives.js';
import { FleecingFolder } from './fleecing-folder.js';
import type { FleecingImage } from './fleecing-image.js';
import { closeAll } from './keeper/ending.js';
import { Keeper } from './keeper/keeper.js';
import type { QemuGuestSettings } from './settings.js';
import type { RecordedDisk, SnapshotRecord } from './snapshot-record.js';
import type { SnapshotFile } from './state/snapshot-file.js';

/** How often an open snapshot is looked after. */
const watchMilliseconds = 1000;
/** What a bit of a bitmap stands for at most, in bytes, where nobody asked for more. */
const largestGranule = 65_536;

/** One disk of a snapshot, with all that was decided about it. */
export interface TakenDisk {
  readonly drive: Drive;
  readonly plan: ChainPlan;
  readonly recorded: RecordedDisk;
  readonly fleecing: FleecingImage;
  /** Connected sockets to QEMU's NBD server, to be read through. */
  readonly sockets: readonly number[];
  /** The same once more, for keepers to inherit: of those above one may be closed any time. */
  readonly kept: readonly number[];
}

export interface Taken {
  readonly name: SnapshotName;
  readonly record: SnapshotRecord;
  readonly disks: readonly TakenDisk[];
  readonly omitted: readonly OmittedDrive[];
  readonly files: readonly GuestFile[];
  readonly built: Built;
  readonly flushMilliseconds: number;
  readonly keeper: Keeper;
  readonly lock: number;
}

/** What a snapshot has of its guest. */
export interface SnapshotContext {
  readonly file: SnapshotFile;
  readonly settings: QemuGuestSettings;
  readonly log: Logger;
  /** It says something else of itself than before. */
  readonly changed: (snapshot: Snapshot) => void;
  /** It is being ended: its name is free. */
  readonly gone: (snapshot: Snapshot) => void;
  /** It has ended, and this keeper still has something to do. */
  readonly unended: (keeper: Keeper) => void;
  /** Its keeper was killed as it was ending it: the record knows how far it came. Gives what is left. */
  readonly endAgain: (sockets: readonly number[]) => Promise<readonly string[]>;
}

/** An open snapshot of a running VM. */
export class QemuSnapshot implements Snapshot {
  readonly id: string;
  readonly name: SnapshotName;
  readonly time: Time;
  readonly files: readonly GuestFile[];
  readonly disks: readonly SnapshotDisk[];
  readonly #taken: Taken;
  readonly #file: SnapshotFile;
  readonly #settings: QemuGuestSettings;
  readonly #log: Logger;
  readonly #changed: (snapshot: Snapshot) => void;
  readonly #gone: (snapshot: Snapshot) => void;
  readonly #unended: (keeper: Keeper) => void;
  readonly #endAgain: (sockets: readonly number[]) => Promise<readonly string[]>;
  readonly #live: readonly CapturedDisk[];
  readonly #dirtyBytes: readonly number[];
  readonly #watch: NodeJS.Timeout;
  readonly #standing: SnapshotStanding;
  readonly #fleecingFolder: FleecingFolder;
  #keeper: Keeper;
  #looking = false;
  #written: Promise<void> = Promise.resolve();
  #letGo: Promise<readonly string[]> | undefined;

  private constructor(
    taken: Taken,
    live: readonly CapturedDisk[],
    dirtyBytes: readonly number[],
    context: SnapshotContext,
    standing: SnapshotStanding,
  ) {
    this.id = taken.record.id;
    this.name = taken.name;
    this.time = timeFromDate(new Date(taken.built.instant));
    this.files = taken.files;
    this.#taken = taken;
    this.#live = live;
    this.#dirtyBytes = dirtyBytes;
    this.#file = context.file;
    this.#settings = context.settings;
    this.#log = context.log;
    this.#changed = context.changed;
    this.#gone = context.gone;
    this.#unended = context.unended;
    this.#endAgain = context.endAgain;
    this.#keeper = taken.keeper;
    this.#standing = standing;
    this.#fleecingFolder = FleecingFolder.at(taken.record.fleecingFolder);
    this.disks = taken.disks.map(({ drive, recorded }, index) => ({
      name: nameFromText(drive.name),
      size: drive.sizeBytes,
      limited: recorded.limited,
      open: async () => this.#disk(index).lent(),
    }));
    this.#watchKeeper(taken.keeper);
    this.#watch = setInterval(() => void this.#lookAfter(), watchMilliseconds);
    this.#watch.unref();
  }

  /**
   * Connects to the disks of a snapshot that was taken; their sockets are taken over, whatever comes of it. When it fails
   * the snapshot is the caller's to undo.
   */
  static async open(taken: Taken, context: SnapshotContext, signal: AbortSignal): Promise<QemuSnapshot> {
    const live: CapturedDisk[] = [];
    const dirty: number[] = [];
    const standing = new SnapshotStanding(taken.record.guest, taken.name.folder, context.log);
    let snapshot: QemuSnapshot | undefined;
    const unopened = [...taken.disks];
    try {
      for (let disk = unopened.shift(); disk; disk = unopened.shift()) {
        const { name } = disk.drive;
        const { granuleBytes, dirtyBytes } = taken.built;
        const counted = dirtyBytes[live.length] ?? null;
        const opened = await openCaptured(disk, granuleBytes[live.length] ?? 0, signal, {
          broken: () => standing.broken,
          failed: (error) => {
            if (snapshot) snapshot.#gaveNothing(name, error);
          },
        });
        live.push(opened);
        dirty.push(await dirtyBytesOf(disk, opened, counted, signal));
      }
    } catch (error) {
      for (const disk of live) await disk.close();
      for (const { sockets } of unopened) closeAll(sockets);
      throw error;
    }
    snapshot = new QemuSnapshot(taken, live, dirty, context, standing);
    return snapshot;
  }

  get outcome(): Outcome {
    return this.#standing.outcome;
  }

  get problems(): readonly string[] {
    return this.#standing.problems;
  }

  describe(): Readonly<Record<string, unknown>> {
    const { record, disks, omitted, built, flushMilliseconds } = this.#taken;
    return {
      id: this.id,
      guest: record.guest,
      type: 'qemu',
      name: this.name.name,
      chain: record.chain,
      time: new Date(built.instant).toISOString(),
      outcome: this.#standing.outcome,
      broken: this.#standing.broken ?? null,
      readable: this.#settings.readable,
      disks: disks.map(({ drive, plan, recorded }, index) => ({
        name: drive.name,
        size: drive.sizeBytes,
        format: drive.format,
        mode: recorded.mode,
        base: plan.base,
        dirty: this.#dirtyBytes[index] ?? drive.sizeBytes,
        ...(plan.reason !== null && { reason: plan.reason }),
      })),
      omitted,
      frozenFileSystems: built.frozen,
      flushMilliseconds: Math.round(flushMilliseconds),
      freezeMilliseconds: built.freezeMilliseconds,
      pauseMilliseconds: built.pauseMilliseconds,
    };
  }

  async say(outcome: 'success' | 'failure'): Promise<void> {
    await this.#standing.say(outcome, (said) => this.#write(said));
    this.#changed(this);
  }

  async end(): Promise<void> {
    this.#standing.end();
    this.#gone(this);
    const left = await this.#lettingGo();
    if (left.length > 0) {
      const what = `not all of snapshot ${this.name.folder} of guest ${this.#settings.id} is gone yet`;
      throw new StillError('EIO', `${what}, it is tried again: ${left.join('; ')}`);
    }
  }

  /** QEMU does not give what it should: it has given up copying, most often. */
  #gaveNothing(name: string, error: unknown): void {
    const { silentMilliseconds, silence } = this.#fleecingFolder;
    const why = silentMilliseconds >= watchMilliseconds ? `${silence}, and ` : '';
    this.#breakOff(`${why}QEMU no longer gives ${name}: ${messageOf(error)}`);
  }

  /** Gives the snapshot up: QEMU lets go of it at once, its folder says why, and it is a failure unless success was said before. */
  #breakOff(reason: string): void {
    if (!this.#standing.breakOff(reason)) return;
    this.#changed(this);
    this.#write(this.#standing.outcome === 'success' ? 'success' : 'failure')
      .then(() => this.#lettingGo())
      .then(
        (left) => {
          for (const sentence of left) this.#log.warn({ guest: this.#settings.id }, sentence);
        },
        (error: unknown) =>
          this.#log.error({ error }, `a broken snapshot was not ended: ${messageOf(error)}`),
      );
  }

  /** One after another, so that the last word is what is recorded. */
  #write(outcome: 'success' | 'failure'): Promise<void> {
    const writing = this.#written.then(() => this.#file.writeOutcome(outcome));
    this.#written = writing.catch(() => undefined);
    return writing;
  }

  #disk(index: number): CapturedDisk {
    this.#standing.mustBeReadable();
    const disk = this.#live[index];
    if (!disk) throw new StillError('EIO', `${this.name.folder} has no disk ${index}`);
    return disk;
  }

  #lettingGo(): Promise<readonly string[]> {
    this.#letGo ??= this.#release();
    return this.#letGo;
  }

  /** Has QEMU let go first: it must not see a connection end before its export has. */
  async #release(): Promise<readonly string[]> {
    clearInterval(this.#watch);
    const keeper = this.#keeper;
    let left: readonly string[];
    try {
      left = (await keeper.end()).left;
      if (left.length > 0) this.#unended(keeper);
    } catch {
      left = await this.#endAgain(this.#taken.disks.flatMap(({ kept }) => kept));
    }
    for (const disk of this.#live) await disk.close();
    for (const { kept } of this.#taken.disks) closeAll(kept);
    const letGo = this.#letImagesGo(left.length === 0);
    // A server that does not answer holds up nobody.
    if (await this.#fleecingFolder.answers()) await letGo;
    this.#log.info(
      { guest: this.#settings.id, snapshot: this.name.folder, left },
      `snapshot ended, ${this.outcome === 'success' ? 'as a success' : 'as a failure'}`,
    );
    return left;
  }

  async #letImagesGo(unused: boolean): Promise<void> {
    try {
      for (const { fleecing } of this.#taken.disks) {
        if (unused) await fleecing.empty();
        await fleecing.close();
      }
    } catch (error) {
      this.#log.warn({ guest: this.#settings.id }, `a fleecing image was not let go: ${messageOf(error)}`);
    }
  }

  /** A keeper that was killed is replaced: somebody has to hold the sockets when this process dies. */
  #watchKeeper(keeper: Keeper): void {
    void keeper.gone.then(() => {
      if (this.#letGo || this.#keeper !== keeper) return;
      this.#log.warn({ guest: this.#settings.id }, 'the keeper was lost; another one takes its place');
      this.#keeper = this.#startKeeper();
      this.#keeper.hold(this.#taken.record);
      this.#watchKeeper(this.#keeper);
    });
  }

  #startKeeper(): Keeper {
    const { lock, disks } = this.#taken;
    const sockets = disks.flatMap((disk) => disk.kept);
    return new Keeper(this.#settings.id, [lock], sockets, this.#log);
  }

  async #lookAfter(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    try {
      const reason = await this.#overdue();
      if (reason !== undefined) this.#breakOff(reason);
    } catch (error) {
      if (!this.#letGo) this.#log.warn({ error }, 'an open snapshot could not be looked after');
    } finally {
      this.#looking = false;
    }
  }

  /** Why the snapshot is to be given up; undefined where it may go on. */
  async #overdue(): Promise<string | undefined> {
    const { longestSnapshotMilliseconds: longest, fleecingLimitBytes: limit } = this.#settings;
    if (longest !== undefined && Date.now() - this.#taken.built.instant > longest)
      return `it was open for longer than ${Math.round(longest / 1000)} s`;
    const lost = this.#live.find((disk) => disk.lost)?.lost;
    if (lost) return `QEMU has gone, or has ended the exports: ${lost.message}`;
    const folder = this.#fleecingFolder;
    if (!(await folder.answers())) {
      // QEMU gives up what the guest writes meanwhile, though nobody may be reading who would hear of it.
      const patience = this.#settings.copyTimeoutSeconds;
      return folder.silentMilliseconds > patience * 1000 ? `${folder.silence} for ${patience} s` : undefined;
    }
    if (limit === undefined) return undefined;
    let used = 0;
    for (const { fleecing } of this.#taken.disks) used += await fleecing.allocatedBytes();
    return used > limit ? `fleecing takes up ${used} bytes, more than the limit of ${limit}` : undefined;
  }
}

async function openCaptured(
  { drive, plan, recorded, sockets }: TakenDisk,
  granuleBytes: number,
  signal: AbortSignal,
  events: Pick<CapturedDiskFacts, 'broken' | 'failed'>,
): Promise<CapturedDisk> {
  const exported = await openNbdDisk(
    {
      address: { descriptors: sockets },
      exportName: recorded.exportId,
      connections: sockets.length,
      held: true,
      discardGranule: granuleBytes,
      allocation: !recorded.limited,
      ...(recorded.oldBitmap !== null && { dirtyBitmap: recorded.oldBitmap }),
    },
    signal,
  );
  const { limited } = recorded;
  const { baseSizeBytes } = plan;
  return new CapturedDisk(exported, { name: drive.name, granuleBytes, limited, baseSizeBytes, ...events });
}

/** QEMU counts in granules: right unless the disk ends within one, or has grown, so that some of it is dirty anyway. */
async function dirtyBytesOf(
  { drive, plan: { mode, baseSizeBytes } }: TakenDisk,
  disk: CapturedDisk,
  counted: number | null,
  signal: AbortSignal,
): Promise<number> {
  if (mode !== 'reuse' || counted === null) return drive.sizeBytes;
  if (baseSizeBytes === drive.sizeBytes && drive.sizeBytes % largestGranule === 0) return counted;
  let bytes = 0;
  for await (const extents of extentsOf(disk, 0, disk.size, signal)) {
    for (const { dirty, length } of extents) if (dirty) bytes += length;
  }
  return bytes;
}
