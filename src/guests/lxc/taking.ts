import { randomBytes } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { hasCode, messageOf, StillError } from '../../errors.js';
import type { Logger } from '../../log.js';
import type { Name } from '../../name.js';
import { syncBtrfs } from '../../posix/btrfs.js';
import type { GuestFile, SnapshotName } from '../guest.js';
import type { RecordFile } from '../state/record-file.js';
import { type Container, lxcNameOf, readContainer } from './container.js';
import type { LxcCustody } from './custody.js';
import { dropRecorded } from './dropping.js';
import { type Freezer, findFreezer } from './freezer.js';
import { takeByKeeper } from './keeper/keeper.js';
import { type ContainerState, containerState } from './lxc-programs.js';
import { LxcSnapshot, type LxcSnapshotContext, type TakenContainer } from './lxc-snapshot.js';
import type { MountEntry } from './mount-entry.js';
import { lxcRecordFile } from './record-file.js';
import type { LxcGuestSettings, SnapshotWay } from './settings.js';
import { placeText, type ShownPlace } from './shown-files.js';
import type { LxcRecord } from './snapshot-record.js';
import { type Omitted, ownPrefix, type PlannedPlace, SubvolumePlan } from './subvolumes.js';
import { runUserCommand } from './user-command.js';

/** What a snapshot is taken of, and with. */
export interface LxcTaking extends Pick<LxcSnapshotContext, 'settings' | 'log' | 'changed' | 'gone'> {
  readonly custody: LxcCustody;
  readonly files: readonly GuestFile[];
}

/** What each way of taking is given. */
interface Begun {
  readonly settings: LxcGuestSettings;
  readonly container: Container;
  readonly told: ContainerState;
  readonly file: RecordFile<LxcRecord>;
  /** As nothing is made yet. */
  readonly record: LxcRecord;
  readonly lock: number;
  readonly log: Logger;
}

type Captured = Pick<
  TakenContainer,
  'record' | 'instant' | 'mountPoints' | 'omitted' | 'freezeMilliseconds' | 'flushMilliseconds'
> & { readonly places: readonly ShownPlace[] };

const wholeFolder = '' as Name;

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
  if (name.chain !== undefined) {
    const advice = `a container has no chains, and each of its snapshots is whole: take ${name.name}`;
    throw new StillError('EINVAL', `guest ${settings.id} can't have a snapshot ${name.folder}: ${advice}`);
  }
  const state = await custody.mended();
  signal.throwIfAborted();
  const id = randomBytes(16).toString('hex');
  const file = lxcRecordFile(state.folder, id);
  const record: LxcRecord = {
    version: 1,
    type: 'lxc',
    id,
    guest: settings.id,
    name: name.folder,
    frozen: null,
    taken: false,
    subvolumes: [],
    command: null,
  };
  const container = await readContainer(settings).catch((error: unknown) => {
    if (!hasCode(error, 'ENOENT')) throw error;
    throw new StillError('ENODEV', `guest ${settings.id} is gone`, { cause: error });
  });
  const told = await stateOf(settings, signal);
  log.info({ guest: settings.id, snapshot: name.folder, id }, 'taking a snapshot');
  try {
    const begun = { settings, container, told, file, record, lock: state.lock, log };
    const { places, ...captured } = await capture(begun, settings.snapshot, signal);
    await file.write(captured.record);
    signal.throwIfAborted();
    const { users, groups } = container;
    const shown = {
      places,
      users,
      groups,
      files: settings.snapshot.kind === 'none' ? 'changing' : 'ending',
    } as const;
    const { freezeMilliseconds } = captured;
    log.info({ guest: settings.id, snapshot: name.folder, id, freezeMilliseconds }, 'snapshot taken');
    return new LxcSnapshot({ ...captured, name, state: told.state, files, shown }, { ...taking, file });
  } catch (error) {
    const left = await dropRecorded(file).catch((failed: unknown) => [messageOf(failed)]);
    if (left.length > 0) log.error({ guest: settings.id, left }, 'a snapshot that failed was not undone');
    throw error;
  }
}

/** Whether the container runs; nobody knows of one that has no name for LXC. */
async function stateOf(settings: LxcGuestSettings, signal: AbortSignal): Promise<ContainerState> {
  const name = lxcNameOf(settings);
  return name ? containerState(name, signal) : { state: 'unknown', pid: undefined };
}

function capture(begun: Begun, way: SnapshotWay, signal: AbortSignal): Promise<Captured> {
  switch (way.kind) {
    case 'btrfs':
      return snapshotSubvolumes(begun, way.folder, signal);
    case 'command':
      return commandSnapshot(begun, way, signal);
    case 'none':
      return liveFolder(begun);
  }
}

async function snapshotSubvolumes(
  { settings, container, told, file, record, lock, log }: Begun,
  folder: string | undefined,
  signal: AbortSignal,
): Promise<Captured> {
  const rootfs = await rootfsOf(settings, container);
  const plan = await SubvolumePlan.make(rootfs, container.storage, folder, signal);
  try {
    const subvolumes = plan.subvolumes.map(({ into: { path, uuid } }, index) => ({
      folder: path,
      uuid,
      name: `${ownPrefix}${record.id}-${index}`,
    }));
    const frozen = await freezerOf(settings, told);
    if (told.state === 'unknown')
      log.warn({ guest: settings.id }, 'the container is not frozen: nobody said what LXC calls it');
    const planned = { ...record, subvolumes, frozen };
    await file.write(planned);
    const begun = performance.now();
    for (const { descriptor } of plan.folders) await syncBtrfs(descriptor);
    const flushMilliseconds = Math.round(performance.now() - begun);
    const { freezeMilliseconds } = settings;
    const made = await takeByKeeper(
      { record: planned, stateFolder: file.folder, freezeMilliseconds, subvolumes: plan.subvolumes, lock },
      signal,
    );
    const late = madeMeanwhile(plan.places, made.unexpected);
    return {
      record: { ...planned, frozen: null, taken: true },
      instant: made.instant,
      places: [
        ...plan.places.map(({ at, within, subvolume }) => {
          const its = subvolume === undefined ? undefined : subvolumes[subvolume];
          return { at, within, folder: its && join(its.folder, its.name) };
        }),
        ...late.map(({ at }) => ({ at, within: wholeFolder, folder: undefined })),
      ],
      mountPoints: plan.places
        .filter(({ subvolume }) => subvolume !== undefined)
        .map(({ at, source }) => ({ path: placeText(at), source })),
      omitted: [...plan.omitted, ...foreignOf(container), ...late],
      freezeMilliseconds: made.freezeMilliseconds,
      flushMilliseconds,
    };
  } finally {
    await plan.close();
  }
}

/** Subvolumes that were made between the plan and the instant, in the places where they are. */
function madeMeanwhile(
  places: readonly PlannedPlace[],
  unexpected: readonly (readonly string[])[],
): Omitted[] {
  return places.flatMap(({ at, subvolume, within }) =>
    (subvolume === undefined ? [] : (unexpected[subvolume] ?? [])).flatMap((path): Omitted[] => {
      const below = within === '' ? path : path.slice(within.length + 1);
      if (within !== '' && !path.startsWith(`${within}/`)) return [];
      return [
        {
          at: [...at, ...(below.split('/') as Name[])],
          reason: 'it was made as the snapshot was being taken',
        },
      ];
    }),
  );
}

async function commandSnapshot(
  { settings, container, file, record }: Begun,
  { take, drop }: Extract<SnapshotWay, { kind: 'command' }>,
  signal: AbortSignal,
): Promise<Captured> {
  const { takeMilliseconds: milliseconds, id } = settings;
  const command = { drop, folder: null, running: null, dropMilliseconds: milliseconds };
  const planned = { ...record, command };
  // Before the command begins: what it makes is not ours to find.
  await file.write(planned);
  const facts = { STILLFS_GUEST: id, STILLFS_SNAPSHOT: record.name, STILLFS_ID: record.id };
  const what = `take of guest ${id}`;
  const output = await runUserCommand(
    {
      what,
      command: take,
      facts,
      milliseconds,
      started: (running) => file.write({ ...planned, command: { ...command, running } }),
    },
    signal,
  );
  const folder = output.replace(/\n+$/, '');
  const taken = { ...planned, command: { ...command, folder }, taken: true };
  await file.write(taken);
  if (!isAbsolute(folder) || folder.includes('\n'))
    throw new StillError(
      'EIO',
      `${what} gave ${JSON.stringify(folder)}: expected the path of a folder and nothing else`,
    );
  await mustBeFolder(folder, `what ${what} gave`);
  const reason = 'the folder that the command gave is all that is shown';
  return {
    record: taken,
    instant: Date.now(),
    places: [{ at: [], folder, within: wholeFolder }],
    mountPoints: [{ path: '/', source: folder }],
    omitted: container.storage.map(({ path }) => ({ at: path, reason })),
    freezeMilliseconds: null,
    flushMilliseconds: null,
  };
}

async function liveFolder({ settings, container, record }: Begun): Promise<Captured> {
  const rootfs = await rootfsOf(settings, container);
  const mounts: MountEntry[] = [];
  const omitted: Omitted[] = [...foreignOf(container)];
  for (const mount of container.storage) {
    try {
      if (!mount.options.includes('bind') && !mount.options.includes('rbind'))
        throw new StillError('EINVAL', `it is a file system of its own, ${mount.type} on ${mount.source}`);
      await mustBeFolder(mount.source, mount.source);
      mounts.push(mount);
    } catch (error) {
      if (hasCode(error, 'ENODEV') && mount.options.includes('optional')) continue;
      omitted.push({ at: mount.path, reason: messageOf(error) });
    }
  }
  return {
    record: { ...record, taken: true },
    instant: Date.now(),
    places: [
      { at: [], folder: rootfs, within: wholeFolder },
      ...mounts.map(({ path, source }) => ({ at: path, folder: source, within: wholeFolder })),
      ...omitted.flatMap(({ at }) =>
        container.storage.some(({ path }) => path === at)
          ? [{ at, folder: undefined, within: wholeFolder }]
          : [],
      ),
    ],
    mountPoints: [
      { path: '/', source: rootfs },
      ...mounts.map(({ path, source }) => ({ path: placeText(path), source })),
    ],
    omitted,
    freezeMilliseconds: null,
    flushMilliseconds: null,
  };
}

async function rootfsOf(settings: LxcGuestSettings, { rootfs, noRootfs }: Container): Promise<string> {
  if (rootfs === undefined) throw new StillError('ENODEV', `guest ${settings.id} can't be read: ${noRootfs}`);
  await mustBeFolder(rootfs, `the root file system of guest ${settings.id}`);
  return rootfs;
}

async function mustBeFolder(path: string, what: string): Promise<void> {
  const found = await stat(path).catch((error: unknown) => {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  });
  if (found?.isDirectory()) return;
  throw new StillError('ENODEV', `${what} is not there: ${found ? 'it is no folder' : 'no folder'} ${path}`);
}

/** What a container that runs is stopped by. */
async function freezerOf(
  settings: LxcGuestSettings,
  { state, pid }: ContainerState,
): Promise<Freezer | null> {
  const name = lxcNameOf(settings);
  if (!name || state !== 'running' || pid === undefined) return null;
  return (await findFreezer(name, pid)) ?? null;
}

function foreignOf({ foreign }: Container): Omitted[] {
  return foreign.map(({ mount, reason }) => ({ at: mount.path, reason }));
}
