import { join } from 'node:path';
import { openHostFolder } from '../../archives/host-folder/host-folder.js';
import { StoreFolder } from '../../disks/store-folder.js';
import type { IdMaps } from '../../id-map.js';
import { type Name, nameToText } from '../../name.js';
import { assembleTree, type MountPoint } from '../../tree/assembled-tree.js';
import type { Tree } from '../../tree/tree.js';

/** A part of a container's files, and where it is to be read. */
export interface ShownPlace {
  /** The names that lead to it in the container: none for the root file system. */
  readonly at: readonly Name[];
  /** A folder of the host; undefined: the name is not shown. */
  readonly folder: string | undefined;
  /** The path within that folder. */
  readonly within: Name;
}

export interface ShownFiles {
  /** The root file system first. */
  readonly places: readonly ShownPlace[];
  readonly ids: IdMaps;
  /** They are as they are until the snapshot ends; or change any time. */
  readonly files: 'ending' | 'changing';
}

/** Opens a container's files as one tree. `problem` is told what of it can't be shown. */
export async function openShownFiles(
  shown: ShownFiles,
  problem: (sentence: string) => void,
  signal: AbortSignal,
): Promise<Tree> {
  const [root, ...mounted] = shown.places;
  if (root?.folder === undefined) throw new Error('a container without a root file system was taken');
  return openPlace(root, mounted, { ...shown, problem }, signal);
}

/** Opens one part with those that are mounted in it. */
async function openPlace(
  place: ShownPlace,
  below: readonly ShownPlace[],
  shown: ShownFiles & { readonly problem: (sentence: string) => void },
  signal: AbortSignal,
): Promise<Tree> {
  const { ids, files, problem } = shown;
  const folder = await StoreFolder.open(place.folder ?? '', undefined, signal);
  let base: Tree;
  try {
    base = await openHostFolder(folder, place.within, { ids, files }, signal);
  } finally {
    folder.close();
  }
  const own = below.filter((other) => !below.some((outer) => outer !== other && isBelow(other, outer)));
  const mountPoints = own.map((mount): MountPoint => {
    const path = mount.at.slice(place.at.length);
    if (mount.folder === undefined) return { path, open: undefined };
    const within = below.filter((other) => other !== mount && isBelow(other, mount));
    return { path, open: (opening) => openPlace(mount, within, shown, opening) };
  });
  const missing = (path: readonly Name[], reason: string): void =>
    problem(`${placeText([...place.at, ...path])} is not shown: ${reason}`);
  return assembleTree(base, mountPoints, missing, signal);
}

function isBelow(place: ShownPlace, outer: ShownPlace): boolean {
  return place.at.length > outer.at.length && outer.at.every((name, index) => name === place.at[index]);
}

/** A place in a container, as a person writes it. */
export function placeText(at: readonly Name[]): string {
  return join('/', ...at.map(nameToText));
}
