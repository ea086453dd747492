import { randomBytes } from 'node:crypto';
import { hasCode, messageOf, StillError } from '../../errors.js';
import type { GuestFile, SnapshotName } from '../guest.js';
import type { Captured, Subject } from './capture.js';
import { captureByCommand } from './command-capture.js';
import { type Container, lxcNameOf, readContainer } from './container.js';
import type { LxcCustody } from './custody.js';
import { dropRecorded } from './dropping.js';
import { captureLive } from './live-capture.js';
import { type ContainerState, containerState } from './lxc-programs.js';
import { LxcSnapshot, type LxcSnapshotContext } from './lxc-snapshot.js';
import { lxcRecordFile } from './record-file.js';
import type { LxcGuestSettings, SnapshotWay } from './settings.js';
import type { LxcRecord } from './snapshot-record.js';
import { captureSubvolumes } from './subvolume-capture.js';

/** What a snapshot is taken of, and with. */
export interface LxcTaking extends Pick<LxcSnapshotContext, 'settings' | 'log' | 'changed' | 'gone'> {
  readonly custody: LxcCustody;
  readonly files: readonly GuestFile[];
}

/**
 * Takes a snapshot of a container: writes down what is to be made, and makes it. After a failure nothing is left of it, or it
 * is written down. ENODEV: it has no files that could be shown; EINVAL: its configuration, or the way, does not fit.
 */
export async function takeContainer(
  taking: LxcTaking,
  name: SnapshotName,
  signal: AbortSignal,
): Promise<LxcSnapshot> {
  const { settings, custody, log, files } = taking;
  const { id: guest, snapshot: way } = settings;
  if (name.chain !== undefined) {
    const advice = `a container has no chains, and each of its snapshots is whole: take ${name.name}`;
    throw new StillError('EINVAL', `guest ${guest} can't have a snapshot ${name.folder}: ${advice}`);
  }
  const state = await custody.mended();
  signal.throwIfAborted();
  const container = await containerOf(settings);
  const told = await stateOf(settings, signal);
  const id = randomBytes(16).toString('hex');
  const file = lxcRecordFile(state.folder, id);
  log.info({ guest, snapshot: name.folder, id }, 'taking a snapshot');
  try {
    const record = recordOf(guest, name, id);
    const subject = { settings, container, told, file, record, lock: state.lock, log };
    const { places, ...captured } = await capture(subject, way, signal);
    await file.write(captured.record);
    signal.throwIfAborted();
    const { ids } = container;
    const lasting = way.kind === 'none' ? 'changing' : 'ending';
    const shown = { places, ids, files: lasting } as const;
    const { freezeMilliseconds } = captured;
    log.info({ guest, snapshot: name.folder, id, freezeMilliseconds }, 'snapshot taken');
    return new LxcSnapshot({ ...captured, name, state: told.state, files, shown }, { ...taking, file });
  } catch (error) {
    const left = await dropRecorded(file).catch((failed: unknown) => [messageOf(failed)]);
    if (left.length > 0) log.error({ guest, left }, 'a snapshot that failed was not undone');
    throw error;
  }
}

function capture(subject: Subject, way: SnapshotWay, signal: AbortSignal): Promise<Captured> {
  switch (way.kind) {
    case 'btrfs':
      return captureSubvolumes(subject, way.folder, signal);
    case 'command':
      return captureByCommand(subject, way, signal);
    case 'none':
      return captureLive(subject);
  }
}

function recordOf(guest: string, { folder }: SnapshotName, id: string): LxcRecord {
  return {
    version: 1,
    type: 'lxc',
    id,
    guest,
    name: folder,
    frozen: null,
    taken: false,
    subvolumes: [],
    command: null,
  };
}

async function containerOf(settings: LxcGuestSettings): Promise<Container> {
  try {
    return await readContainer(settings);
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
    throw new StillError('ENODEV', `guest ${settings.id} is gone`, { cause: error });
  }
}

/** Whether the container runs; nobody knows of one that has no name for LXC. ENODEV: LXC has none of that name. */
async function stateOf(settings: LxcGuestSettings, signal: AbortSignal): Promise<ContainerState> {
  const name = lxcNameOf(settings);
  if (!name) return { state: 'unknown', pid: undefined };
  const told = await containerState(name, signal);
  if (told.state !== 'gone') return told;
  // It may run under another name, and would not be frozen.
  throw new StillError('ENODEV', `LXC has no container ${name.name} in ${name.lxcPath}`);
}
