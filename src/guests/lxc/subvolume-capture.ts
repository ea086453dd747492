import { join } from 'node:path';
import { type Name, nameFromText } from '../../name.js';
import { syncBtrfs } from '../../posix/btrfs.js';
import { type Captured, foreignOf, type Omitted, rootfsOf, type Subject } from './capture.js';
import { lxcNameOf } from './container.js';
import { type Freezer, findFreezer } from './freezer.js';
import { takeByKeeper } from './keeper/keeper.js';
import { placeText } from './shown-files.js';
import { ownPrefix, type PlannedPlace, SubvolumePlan } from './subvolumes.js';

/** Snapshots of all subvolumes at one instant. `folder`: where they are made, beside the outermost one if not said. */
export async function captureSubvolumes(
  subject: Subject,
  folder: string | undefined,
  signal: AbortSignal,
): Promise<Captured> {
  const { settings, container, told, file, record, lock, log } = subject;
  const plan = await SubvolumePlan.make(await rootfsOf(subject), container.storage, folder, signal);
  try {
    const subvolumes = plan.subvolumes.map(({ into: { path, uuid } }, index) => ({
      folder: path,
      uuid,
      name: `${ownPrefix}${record.id}-${index}`,
    }));
    if (told.state === 'unknown')
      log.warn({ guest: settings.id }, 'the container is not frozen: nobody said what LXC calls it');
    const planned = { ...record, subvolumes, frozen: await freezerOf(subject) };
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
        ...late.map(({ at }) => ({ at, within: '' as Name, folder: undefined })),
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

/** What a container that has processes is stopped by; null for one that stands still, or of which nobody knows. */
async function freezerOf({ settings, told: { state, pid } }: Subject): Promise<Freezer | null> {
  const name = lxcNameOf(settings);
  if (!name || state === 'frozen' || pid === undefined) return null;
  return (await findFreezer(name, pid)) ?? null;
}

/** Subvolumes that were made between the plan and the instant, in the places where they are. */
function madeMeanwhile(
  places: readonly PlannedPlace[],
  unexpected: readonly (readonly string[])[],
): Omitted[] {
  const omitted: Omitted[] = [];
  for (const { at, subvolume, within } of places) {
    const inside = within === '' ? '' : `${within}/`;
    const paths = subvolume === undefined ? [] : (unexpected[subvolume] ?? []).map(nameFromText);
    for (const path of paths) {
      if (!path.startsWith(inside)) continue;
      const below = path.slice(inside.length).split('/') as Name[];
      omitted.push({ at: [...at, ...below], reason: 'it was made as the snapshot was being taken' });
    }
  }
  return omitted;
}
