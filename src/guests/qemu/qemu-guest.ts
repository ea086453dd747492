import { randomBytes } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, messageOf, StillError } from '../../errors.js';
import type { Logger } from '../../log.js';
import { duplicateDescriptor } from '../../posix/duplicate.js';
import { connectUnixSocket, listeningUnixSocket } from '../../posix/unix-socket.js';
import type { GuestDescription, GuestFile, GuestSource, Snapshot, SnapshotName } from '../guest.js';
import { guestFiles } from '../guest-files.js';
import { type ChainPlan, noChain, planChain } from './chain-plan.js';
import { type Drive, drivesOf, type OmittedDrive } from './drives.js';
import { FleecingImage } from './fleecing-image.js';
import { describeGuest } from './guest-description.js';
import { closeAll } from './keeper/ending.js';
import { Keeper } from './keeper/keeper.js';
import { QemuSnapshot, type Taken, type TakenDisk } from './qemu-snapshot.js';
import { queryBlock } from './qmp/commands/block-devices.js';
import { transaction } from './qmp/commands/dirty-bitmaps.js';
import { queryTpms } from './qmp/commands/tpms.js';
import { Monitor } from './qmp/monitor.js';
import { GuestIsOff } from './qmp/qmp-error.js';
import type { QemuGuestSettings } from './settings.js';
import { nodeNames, type RecordedDisk, type SnapshotRecord } from './snapshot-record.js';
import { ChainBases } from './state/chain-bases.js';
import { GuestState } from './state/guest-state.js';
import { recordedSnapshots, SnapshotFile } from './state/snapshot-file.js';

/** How many connections a disk is read through. */
const connectionsPerDisk = 2;
/** How long the keepers of a daemon that died may take to end. */
const lockMilliseconds = 30_000;

/** A virtual machine of QEMU's, reached by its monitor. */
export class QemuGuest implements GuestSource {
  readonly id: string;
  readonly type = 'qemu';
  readonly #settings: QemuGuestSettings;
  readonly #log: Logger;
  readonly #monitor: Monitor;
  readonly #listeners = new Set<(snapshot: Snapshot) => void>();
  readonly #closing = new AbortController();
  readonly #state: Promise<GuestState>;
  /** Keepers that end what an earlier daemon, or an attempt that failed, has left. */
  readonly #mending = new Map<string, Keeper>();
  #snapshots: readonly QemuSnapshot[] = [];
  #busy: string | undefined;

  /** Begins at once to end what an earlier daemon has left of this guest's snapshots. */
  constructor(settings: QemuGuestSettings, stateFolder: string, log: Logger) {
    this.id = settings.id;
    this.#settings = settings;
    this.#log = log;
    this.#monitor = new Monitor(settings.monitor, `guest ${settings.id}`);
    this.#state = this.#takeOver(stateFolder);
    this.#state.catch((error: unknown) => {
      if (!this.#closing.signal.aborted) log.error({ guest: this.id }, messageOf(error));
    });
  }

  get snapshots(): readonly Snapshot[] {
    return this.#snapshots;
  }

  describe(signal: AbortSignal): Promise<GuestDescription> {
    return describeGuest(this.#monitor, this.#settings, this.#snapshots[0]?.record, signal);
  }

  configuration(): Promise<readonly GuestFile[]> {
    return guestFiles(this.#settings.configuration, this.#settings.firewall);
  }

  watch(listener: (snapshot: Snapshot) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async take(name: SnapshotName, signal: AbortSignal): Promise<Snapshot> {
    const open = this.#snapshots[0]?.name.folder ?? this.#busy;
    if (this.#snapshots.some((other) => other.name.folder === name.folder))
      throw new StillError('EEXIST', `guest ${this.id} has a snapshot ${name.folder} already`);
    if (open !== undefined)
      throw new StillError('EBUSY', `guest ${this.id} has the snapshot ${open}; end it first`);
    this.#busy = name.folder;
    const deadline = new AbortController();
    const { takeMilliseconds } = this.#settings;
    const timer = setTimeout(
      () =>
        deadline.abort(
          new StillError('ETIMEDOUT', `guest ${this.id} gave no snapshot within ${takeMilliseconds} ms`),
        ),
      takeMilliseconds,
    );
    try {
      return await this.#take(name, AbortSignal.any([signal, deadline.signal, this.#closing.signal]));
    } catch (error) {
      this.#log.warn({ guest: this.id, snapshot: name.folder }, `no snapshot was taken: ${messageOf(error)}`);
      if (error instanceof GuestIsOff) throw new StillError('EHOSTUNREACH', error.message, { cause: error });
      throw error;
    } finally {
      clearTimeout(timer);
      this.#busy = undefined;
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new StillError('ECANCELED', 'the mount ends'));
    for (const snapshot of this.#snapshots) {
      try {
        await snapshot.end();
      } catch (error) {
        this.#log.warn({ guest: this.id }, messageOf(error));
      }
    }
    // Keepers that still have something to do keep the lock.
    await this.#state.then(
      (state) => state.close(),
      () => undefined,
    );
  }

  async #take(name: SnapshotName, signal: AbortSignal): Promise<Snapshot> {
    const state = await this.#state;
    await this.#mustBeMended(state);
    signal.throwIfAborted();
    const id = randomBytes(16).toString('hex');
    const file = new SnapshotFile(state.folder, id);
    const files = await this.configuration();
    const { plans, omitted } = await this.#plan(name, id, state, signal);
    const flushMilliseconds = await flushed(plans.map(({ drive }) => drive.file));

    const record = this.#record(name, id, state, plans);
    const made = new Made();
    let keeper: Keeper | undefined;
    try {
      const listener = made.descriptor(
        listeningUnixSocket(record.socket, record.disks.length * connectionsPerDisk + 1),
      );
      const disks: TakenDisk[] = [];
      for (const [index, { drive, plan }] of plans.entries()) {
        const recorded = record.disks[index];
        if (!recorded) throw new StillError('EINVAL', `the record lacks ${drive.name}`);
        const fleecing = await FleecingImage.create(this.#settings.fleecing, drive.sizeBytes);
        made.fleecing.push(fleecing);
        const sockets = Array.from({ length: connectionsPerDisk }, () => connectUnixSocket(record.socket));
        made.sockets.push(...sockets);
        const kept = sockets.map((socket) => made.descriptor(duplicateDescriptor(socket)));
        disks.push({ drive, plan, recorded, fleecing, sockets, kept });
      }
      await file.write(record);
      const images = disks.map(({ fleecing }) => fleecing.descriptor);
      const kept = disks.flatMap((disk) => disk.kept);
      keeper = new Keeper(this.id, [state.lock, listener, ...images, ...kept], this.#log);
      this.#log.info({ guest: this.id, snapshot: name.folder, id }, 'taking a snapshot');
      const built = await keeper.take(
        {
          record,
          listener,
          fleecing: images,
          mostConnections: disks.length * connectionsPerDisk + 4,
          freezeMilliseconds: this.#settings.freezeMilliseconds,
        },
        signal,
      );
      closeAll([listener]);
      const taken: Taken = {
        name,
        record: { ...record, taken: true },
        disks,
        omitted,
        files,
        built,
        flushMilliseconds,
        keeper,
        lock: state.lock,
      };
      const snapshot = await this.#open(taken, file, made, signal);
      this.#log.info(
        { guest: this.id, snapshot: name.folder, id, pauseMilliseconds: built.pauseMilliseconds },
        'snapshot taken',
      );
      return snapshot;
    } catch (error) {
      await this.#undo(keeper, record, file, state);
      await made.close();
      throw error;
    }
  }

  async #open(taken: Taken, file: SnapshotFile, made: Made, signal: AbortSignal): Promise<QemuSnapshot> {
    made.sockets.length = 0;
    const snapshot = await QemuSnapshot.open(
      taken,
      {
        file,
        settings: this.#settings,
        log: this.#log,
        changed: (changed) => this.#tell(changed),
        gone: (gone) => {
          this.#snapshots = this.#snapshots.filter((other) => other !== gone);
          this.#tell(gone);
        },
      },
      signal,
    );
    this.#snapshots = [snapshot];
    this.#tell(snapshot);
    return snapshot;
  }

  #tell(snapshot: Snapshot): void {
    for (const listener of this.#listeners) listener(snapshot);
  }

  /** Looks at the guest's disks, and decides what becomes of the chain on each. */
  async #plan(
    name: SnapshotName,
    id: string,
    state: GuestState,
    signal: AbortSignal,
  ): Promise<{ plans: Array<{ drive: Drive; plan: ChainPlan }>; omitted: OmittedDrive[] }> {
    const { chain } = name;
    const bases = chain === undefined ? {} : await new ChainBases(state.folder).of(chain);
    const wanted = this.#settings.disks && new Set(this.#settings.disks);
    return this.#monitor.use(
      async (connection) => {
        const { drives, omitted } = drivesOf(await queryBlock(connection, { signal }), wanted);
        const tpms = await queryTpms(connection, { signal });
        omitted.push(...tpms.map((tpm) => ({ name: tpm, reason: "a TPM's state is no disk of QEMU's" })));
        if (drives.length === 0) throw new StillError('ENODEV', `guest ${this.id} has no disk to be taken`);
        const plans = drives.map((drive) => ({
          drive,
          plan: chain === undefined ? noChain : planChain(drive, chain, id, bases[drive.name]),
        }));
        const first = plans.flatMap(({ plan }) => plan.first);
        if (first.length > 0) {
          this.#log.info({ guest: this.id, chain }, 'uniting the bitmaps of an interrupted snapshot');
          await transaction(connection, first, { signal });
        }
        return { plans, omitted };
      },
      { signal },
    );
  }

  #record(
    name: SnapshotName,
    id: string,
    state: GuestState,
    plans: ReadonlyArray<{ drive: Drive; plan: ChainPlan }>,
  ): SnapshotRecord {
    const settings = this.#settings;
    return {
      version: 1,
      id,
      guest: this.id,
      folder: name.folder,
      chain: name.chain ?? null,
      monitor: settings.monitor,
      agent: settings.agent ?? null,
      socket: join(state.folder, `${id.slice(0, 8)}.sock`),
      copyTimeoutSeconds: settings.copyTimeoutSeconds,
      pausing: false,
      taken: false,
      disks: plans.map(({ drive, plan }, index): RecordedDisk => {
        const { mode, oldBitmap, newBitmap, persistent, superseded, baseSizeBytes } = plan;
        return {
          name: drive.name,
          qomPath: drive.qomPath,
          node: drive.node,
          sizeBytes: drive.sizeBytes,
          mode,
          ...nodeNames(id, index),
          oldBitmap,
          newBitmap,
          persistent,
          // What the disk has grown by is in no bitmap, so it could not be read.
          limited: settings.readable === 'dirty' && oldBitmap !== null && baseSizeBytes === drive.sizeBytes,
          superseded,
        };
      }),
    };
  }

  /** After a failure: nothing is to be left of the snapshot, also where the keeper died. */
  async #undo(
    keeper: Keeper | undefined,
    record: SnapshotRecord,
    file: SnapshotFile,
    state: GuestState,
  ): Promise<void> {
    try {
      if (keeper) await keeper.end().catch(() => undefined);
      if ((await file.read()) && !keeper?.alive) await this.#endRecorded(file, state);
      if (!(await file.read())) await rm(record.socket, { force: true });
    } catch (error) {
      this.#log.error({ guest: this.id }, `a snapshot that failed was not undone: ${messageOf(error)}`);
    }
  }

  /** Locks the guest's state, and ends what is recorded there: nobody else does. */
  async #takeOver(stateFolder: string): Promise<GuestState> {
    const state = await GuestState.open(stateFolder, this.id, lockMilliseconds, this.#closing.signal);
    for (const id of await recordedSnapshots(state.folder)) {
      const file = new SnapshotFile(state.folder, id);
      const left = await this.#endRecorded(file, state).catch((error: unknown) => [messageOf(error)]);
      this.#log.warn({ guest: this.id, id, left }, 'ended a snapshot that was left by an earlier daemon');
    }
    return state;
  }

  async #endRecorded(file: SnapshotFile, state: GuestState): Promise<readonly string[]> {
    const record = await file.read();
    if (!record) return [];
    if (this.#mending.get(file.id)?.alive) return ['it is still being tried'];
    const keeper = new Keeper(this.id, [state.lock], this.#log);
    this.#mending.set(file.id, keeper);
    void keeper.gone.then(() => this.#mending.delete(file.id));
    return (await keeper.end(record)).left;
  }

  /** A guest that was off may have bitmaps to be settled; one that did not answer, more than that. */
  async #mustBeMended(state: GuestState): Promise<void> {
    for (const id of await recordedSnapshots(state.folder)) {
      const left = await this.#endRecorded(new SnapshotFile(state.folder, id), state);
      if (left.length > 0)
        throw new StillError(
          'EBUSY',
          `an earlier snapshot of guest ${this.id} is not ended: ${left.join('; ')}`,
        );
    }
  }
}

/** What was made for a snapshot, to be closed if nothing comes of it. */
class Made {
  readonly fleecing: FleecingImage[] = [];
  readonly sockets: number[] = [];
  readonly #descriptors: number[] = [];

  descriptor(descriptor: number): number {
    this.#descriptors.push(descriptor);
    return descriptor;
  }

  async close(): Promise<void> {
    closeAll([...this.sockets, ...this.#descriptors]);
    for (const image of this.fleecing) await image.close();
  }
}

/** Has the host write what it holds of the images, so that QEMU need not while the guest stands still. Gives milliseconds. */
async function flushed(files: readonly string[]): Promise<number> {
  const begun = performance.now();
  for (const path of files) {
    if (!path.startsWith('/')) continue; // json:… and other protocols are QEMU's alone
    try {
      const file = await open(path, 'r');
      try {
        await file.sync();
      } finally {
        await file.close();
      }
    } catch (error) {
      // QEMU flushes once more; it only may take longer then.
      if (!hasCode(error, 'EACCES') && !hasCode(error, 'ENOENT') && !hasCode(error, 'EINVAL')) throw error;
    }
  }
  return performance.now() - begun;
}
