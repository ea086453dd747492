import { StillError } from '../errors.js';
import type { Name } from '../name.js';
import { assembleTree, type MountPoint } from '../tree/assembled-tree.js';
import { type FolderLook, MountFolders } from '../tree/mount-folders.js';
import type { Tree } from '../tree/tree.js';
import { type FoundVolume, volumeText } from './found-volume.js';
import type { GuestMount, GuestSystem } from './guest-system.js';

/** Opens the tree of a volume, which the caller closes. */
export type OpenVolume = (volume: FoundVolume, signal: AbortSignal) => Promise<Tree>;

/** `files/`: all volumes with a file system that is read, in their places. */
export function volumesTree(volumes: readonly FoundVolume[], open: OpenVolume, look: FolderLook): Tree {
  const shown = volumes.filter(({ content }) => content.kind === 'file system');
  return new MountFolders(
    shown.map((volume): MountPoint => ({ path: volume.path, open: (signal) => open(volume, signal) })),
    look,
  );
}

/** What `rootfs/` is made from. */
export interface SystemParts {
  readonly system: GuestSystem;
  readonly volumes: readonly FoundVolume[];
  readonly open: OpenVolume;
  /** Of the folder that drives stand in. */
  readonly look: FolderLook;
  /** Called with each sentence about what can't be shown. */
  readonly problem: (sentence: string) => void;
}

/** `rootfs/`: the guest's own tree. ENOENT: it has no system that is known. */
export async function systemTree(parts: SystemParts, signal: AbortSignal): Promise<Tree> {
  const { system, volumes, open, look } = parts;
  switch (system.kind) {
    case 'none':
      throw new StillError('ENOENT', 'no system was found on the disks');
    case 'windows':
      return new MountFolders(
        system.drives.map(({ path, volume }) => ({
          path,
          open: (later) => open(at(volumes, volume), later),
        })),
        look,
      );
    case 'unix':
      return mounted(parts, { path: [], volume: system.root }, effective(system.mounts), signal);
  }
}

/** Of what is mounted in the same place twice, the last counts. */
function effective(mounts: readonly GuestMount[]): GuestMount[] {
  return [...new Map(mounts.map((mount) => [mount.path.join('/'), mount])).values()];
}

/** A volume with all that is mounted below it; what is mounted in that comes with it. */
async function mounted(
  parts: SystemParts,
  { path, volume }: GuestMount,
  mounts: readonly GuestMount[],
  signal: AbortSignal,
): Promise<Tree> {
  const direct = mounts.filter(
    (mount) => !mounts.some((other) => other !== mount && isBelow(mount.path, other.path)),
  );
  const points = direct.map((mount): MountPoint => {
    const inside = mounts.filter((other) => other !== mount && isBelow(other.path, mount.path));
    return {
      path: mount.path.slice(path.length),
      open: (later) => mounted(parts, mount, inside, later),
    };
  });
  const base = await parts.open(at(parts.volumes, volume), signal);
  const missing = (place: readonly Name[], why: string): void =>
    parts.problem(
      `/${volumeText({ path: [...path, ...place] })} of the guest is not mounted in rootfs/: ${why}.`,
    );
  return assembleTree(base, points, missing, signal);
}

function isBelow(path: readonly Name[], above: readonly Name[]): boolean {
  return path.length > above.length && above.every((name, index) => path[index] === name);
}

function at(volumes: readonly FoundVolume[], place: number): FoundVolume {
  const volume = volumes[place];
  if (volume) return volume;
  throw new StillError('EIO', `the guest's system names a volume ${place} that there is not`);
}
