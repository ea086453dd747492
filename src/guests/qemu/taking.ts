import { randomBytes } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, messageOf, StillError } from '../../errors.js';
import type { Logger } from '../../log.js';
import { duplicateDescriptor } from '../../posix/duplicate.js';
import { connectUnixSocket, listeningUnixSocket } from '../../posix/unix-socket.js';
import type { GuestFile, SnapshotName } from '../guest.js';
import { type ChainPlan, noChain, planChain } from './chain-plan.js';
import type { QemuCustody } from './custody.js';
import { type Drive, drivesOf, type OmittedDrive } from './drives.js';
import { FleecingFolder } from './fleecing-folder.js';
import { FleecingImage } from './fleecing-image.js';
import { closeAll } from './keeper/ending.js';
import { Keeper } from './keeper/keeper.js';
import { QemuSnapshot, type SnapshotContext, type TakenDisk } from './qemu-snapshot.js';
import { queryBlock } from './qmp/commands/block-devices.js';
import { transaction } from './qmp/commands/dirty-bitmaps.js';
import { queryTpms } from './qmp/commands/tpms.js';
import type { Monitor } from './qmp/monitor.js';
import type { QemuGuestSettings } from './settings.js';
import { nodeNames, type RecordedDisk, type SnapshotRecord } from './snapshot-record.js';
import { ChainBases } from './state/chain-bases.js';
import { SnapshotFile } from './state/snapshot-file.js';

/** Who knows the socket may look at the exports, too: other tools, with several connections each. */
const connectionsForOthers = 16;
/** How many connections a disk is read through. */
const connectionsPerDisk = 2;

/** What a snapshot is taken of, and with. */
export interface Taking extends Pick<SnapshotContext, 'changed' | 'gone'> {
  readonly settings: QemuGuestSettings;
  readonly monitor: Monitor;
  readonly custody: QemuCustody;
  readonly files: readonly GuestFile[];
  readonly log: Logger;
}

interface PlannedDisk {
  readonly drive: Drive;
  readonly plan: ChainPlan;
}

/**
 * Takes a snapshot of a running VM: looks at its disks, makes and opens all that is needed, writes it down, and has a keeper do the
 * rest. After a failure nothing is left of it, or a keeper is at it.
 */
export async function takeSnapshot(
  taking: Taking,
  name: SnapshotName,
  signal: AbortSignal,
): Promise<QemuSnapshot> {
  const { settings, custody, files, log } = taking;
  const state = await custody.mended();
  signal.throwIfAborted();
  const id = randomBytes(16).toString('hex');
  const file = new SnapshotFile(state.folder, id);
  const { plans, omitted } = await planned(taking, name, id, state.folder, signal);
  const folder = FleecingFolder.at(settings.fleecing);
  if (!(await folder.answers()))
    throw new StillError('ETIMEDOUT', `no snapshot of guest ${settings.id} can be taken: ${folder.silence}`);
  const flushMilliseconds = await flushed(plans.map(({ drive }) => drive.file));

  const record = recordOf(settings, name, id, state.folder, plans);
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
      const fleecing = await FleecingImage.create(settings.fleecing, drive.sizeBytes);
      made.fleecing.push(fleecing);
      const sockets = Array.from({ length: connectionsPerDisk }, () => connectUnixSocket(record.socket));
      made.sockets.push(...sockets);
      const kept = sockets.map((socket) => made.descriptor(duplicateDescriptor(socket)));
      made.kept.push(...kept);
      disks.push({ drive, plan, recorded, fleecing, sockets, kept });
    }
    await file.write(record);
    const images = disks.map(({ fleecing }) => fleecing.descriptor);
    const kept = disks.flatMap((disk) => disk.kept);
    keeper = new Keeper(settings.id, [state.lock, listener, ...images], kept, log);
    log.info({ guest: settings.id, snapshot: name.folder, id }, 'taking a snapshot');
    const built = await keeper.take(
      {
        record,
        listener,
        fleecing: images,
        mostConnections: disks.length * connectionsPerDisk + connectionsForOthers,
        freezeMilliseconds: settings.freezeMilliseconds,
      },
      signal,
    );
    made.close(listener);
    // From here on the sockets are the snapshot's, whatever comes of it.
    made.sockets.length = 0;
    const taken = {
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
    const snapshot = await QemuSnapshot.open(
      taken,
      {
        ...taking,
        file,
        unended: (busy) => custody.leave(id, busy),
        endAgain: (sockets) => custody.end(file, sockets),
      },
      signal,
    );
    log.info(
      { guest: settings.id, snapshot: name.folder, id, pauseMilliseconds: built.pauseMilliseconds },
      'snapshot taken',
    );
    return snapshot;
  } catch (error) {
    await undo(taking, keeper, record, file, made.kept);
    await made.closeAll();
    throw error;
  }
}

/** Looks at the guest's disks, and decides what becomes of the chain on each. */
async function planned(
  { settings, monitor, log }: Taking,
  name: SnapshotName,
  id: string,
  folder: string,
  signal: AbortSignal,
): Promise<{ plans: PlannedDisk[]; omitted: OmittedDrive[] }> {
  const { chain } = name;
  const bases = chain === undefined ? {} : await new ChainBases(folder).of(chain);
  const wanted = settings.disks && new Set(settings.disks);
  return monitor.use(
    async (connection) => {
      const { drives, omitted } = drivesOf(await queryBlock(connection, { signal }), wanted);
      const tpms = await queryTpms(connection, { signal });
      omitted.push(...tpms.map((tpm) => ({ name: tpm, reason: "a TPM's state is no disk of QEMU's" })));
      if (drives.length === 0) throw new StillError('ENODEV', `guest ${settings.id} has no disk to be taken`);
      const plans = drives.map((drive) => ({
        drive,
        plan: chain === undefined ? noChain : planChain(drive, chain, id, bases[drive.name]),
      }));
      const first = plans.flatMap(({ plan }) => plan.first);
      if (first.length > 0) {
        log.info({ guest: settings.id, chain }, 'uniting the bitmaps of an interrupted snapshot');
        await transaction(connection, first, { signal });
      }
      return { plans, omitted };
    },
    { signal },
  );
}

/** What is written down before anything is made. */
function recordOf(
  settings: QemuGuestSettings,
  name: SnapshotName,
  id: string,
  folder: string,
  plans: readonly PlannedDisk[],
): SnapshotRecord {
  return {
    version: 1,
    id,
    guest: settings.id,
    folder: name.folder,
    chain: name.chain ?? null,
    monitor: settings.monitor,
    agent: settings.agent ?? null,
    socket: join(folder, `${id.slice(0, 8)}.sock`),
    fleecingFolder: settings.fleecing,
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
async function undo(
  { settings, custody, log }: Taking,
  keeper: Keeper | undefined,
  record: SnapshotRecord,
  file: SnapshotFile,
  sockets: readonly number[],
): Promise<void> {
  try {
    const left = (await keeper?.end().catch(() => undefined))?.left ?? [];
    if (keeper && left.length > 0) custody.leave(record.id, keeper);
    if ((await file.read()) && !keeper?.alive) await custody.end(file, sockets);
    if (!(await file.read())) await rm(record.socket, { force: true });
  } catch (error) {
    log.error({ guest: settings.id }, `a snapshot that failed was not undone: ${messageOf(error)}`);
  }
}

/** What was made for a snapshot, to be closed if nothing comes of it. */
class Made {
  readonly fleecing: FleecingImage[] = [];
  readonly sockets: number[] = [];
  /** Those of the descriptors that keepers are to inherit. */
  readonly kept: number[] = [];
  readonly #descriptors: number[] = [];

  descriptor(descriptor: number): number {
    this.#descriptors.push(descriptor);
    return descriptor;
  }

  close(descriptor: number): void {
    this.#descriptors.splice(this.#descriptors.indexOf(descriptor), 1);
    closeAll([descriptor]);
  }

  async closeAll(): Promise<void> {
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
