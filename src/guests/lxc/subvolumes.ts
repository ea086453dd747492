import { closeSync, constants, fstatSync } from 'node:fs';
import { type FileHandle, open, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { hasCode, messageOf, StillError } from '../../errors.js';
import { type Name, nameFromText, nameToText } from '../../name.js';
import { btrfsUuid, nestedSubvolumes, subvolumeInode } from '../../posix/btrfs.js';
import { openBeneath } from '../../posix/openat2.js';
import type { Omitted } from './capture.js';
import { type MountEntry, mustBeBind } from './mount-entry.js';

/** So many subvolumes are snapshotted while a container stands still. */
const mostSubvolumes = 256;
/** What the names of our snapshots begin with. */
export const ownPrefix = '.stillfs-';
const folderFlags = constants.O_RDONLY | constants.O_DIRECTORY;

/** A subvolume that a snapshot is to be made of. */
export interface PlannedSubvolume {
  /** Its own folder. */
  readonly descriptor: number;
  /** The folder in which its snapshot is to be made, open, and its path. */
  readonly into: OpenFolder;
  /** The subvolumes that were found in it. */
  readonly nested: ReadonlySet<bigint>;
}

interface OpenFolder {
  readonly path: string;
  readonly descriptor: number;
  /** Of its file system. */
  readonly uuid: string;
}

/** Where a part of a subvolume is in the container. */
export interface PlannedPlace {
  /** The names that lead there: none for the root file system. */
  readonly at: readonly Name[];
  /** Which of the planned subvolumes; undefined: it is left out. */
  readonly subvolume: number | undefined;
  /** The path within the subvolume. */
  readonly within: Name;
  /** For people: what lies there. */
  readonly source: string;
}

/**
 * Finds the subvolumes that a container's files lie in: that of the root file system, those of its other mount points, and
 * all that lie in these. Descriptors stay open until `close`, so that the plan is of these very subvolumes.
 */
export class SubvolumePlan {
  readonly subvolumes: PlannedSubvolume[] = [];
  readonly places: PlannedPlace[] = [];
  readonly omitted: Omitted[] = [];
  /** Every subvolume has a device number of its own. */
  readonly #byDevice = new Map<number, number>();
  readonly #folders = new Map<string, OpenFolder>();
  readonly #files: FileHandle[] = [];
  readonly #descriptors: number[] = [];
  readonly #folder: string | undefined;

  private constructor(folder: string | undefined) {
    this.#folder = folder;
  }

  /** `folder`: where the snapshots are made; beside the outermost subvolume if not said. EINVAL: the root file system is no btrfs. */
  static async make(
    rootfs: string,
    storage: readonly MountEntry[],
    folder: string | undefined,
    signal: AbortSignal,
  ): Promise<SubvolumePlan> {
    const plan = new SubvolumePlan(folder);
    try {
      await plan.#add(rootfs, [], signal);
      for (const mount of storage) {
        const { source, path, options } = mount;
        try {
          mustBeBind(mount);
          await plan.#add(source, path, signal);
        } catch (error) {
          signal.throwIfAborted();
          if (hasCode(error, 'ENOENT') && options.includes('optional')) continue;
          plan.#leaveOut(path, source, messageOf(error));
        }
      }
      return plan;
    } catch (error) {
      await plan.close();
      throw error;
    }
  }

  /** The folders that snapshots are made in. */
  get folders(): readonly OpenFolder[] {
    return [...this.#folders.values()];
  }

  async close(): Promise<void> {
    for (const descriptor of this.#descriptors.splice(0)) closeSync(descriptor);
    for (const file of this.#files.splice(0)) await file.close();
  }

  async #add(source: string, at: readonly Name[], signal: AbortSignal): Promise<void> {
    const path = await realpath(source);
    if (!(await stat(path)).isDirectory()) throw new StillError('ENOTDIR', `${source} is no folder`);
    const outer = await subvolumePathOf(path);
    const { fd } = await this.#open(outer);
    const index = await this.#plan(fd, async () => {
      const uuid = await btrfsUuid(fd);
      return this.#folders.get(uuid) ?? (await this.#folderFor(uuid, outer));
    });
    this.#hide(at);
    const within = nameFromText(relative(outer, path));
    this.places.push({ at, subvolume: index, within, source });
    await this.#addNested(index, outer, within, at, signal);
  }

  async #folderFor(uuid: string, subvolume: string): Promise<OpenFolder> {
    const path = this.#folder ?? dirname(subvolume);
    const { fd } = await this.#open(path);
    const found = await btrfsUuid(fd).catch((error: unknown) => {
      if (hasCode(error, 'ENOTTY')) return undefined;
      throw error;
    });
    if (found !== uuid) {
      throw new StillError(
        'EXDEV',
        `no snapshot of ${subvolume} can be made in ${path}, which is on another file system: give a folder of that btrfs (snapshots)`,
      );
    }
    const folder = { path, descriptor: fd, uuid };
    this.#folders.set(uuid, folder);
    return folder;
  }

  /** Adds the subvolumes that lie in one, as far as they are shown with it, and those in these. */
  async #addNested(
    outer: number,
    path: string,
    within: Name,
    at: readonly Name[],
    signal: AbortSignal,
  ): Promise<void> {
    const parent = this.subvolumes[outer];
    if (!parent) throw new StillError('EINVAL', `${path} is not planned`);
    for (const nested of await nestedSubvolumes(parent.descriptor)) {
      signal.throwIfAborted();
      const below = pathBelow(within, nested.path);
      if (below === undefined) continue;
      const place = [...at, ...(below.split('/') as Name[])];
      const source = join(path, nameToText(nested.path));
      if (basename(source).startsWith(ownPrefix)) {
        this.#leaveOut(place, source, 'it is a snapshot of stillfs');
        continue;
      }
      try {
        const index = await this.#addInner(parent, nested.path);
        this.places.push({ at: place, subvolume: index, within: '' as Name, source });
        await this.#addNested(index, source, '' as Name, place, signal);
      } catch (error) {
        signal.throwIfAborted();
        this.#leaveOut(place, source, messageOf(error));
      }
    }
  }

  async #addInner(parent: PlannedSubvolume, path: Name): Promise<number> {
    // What lies in the container can be changed by it: no link is followed.
    const descriptor = await openBeneath(parent.descriptor, path, folderFlags);
    this.#descriptors.push(descriptor);
    return this.#plan(descriptor, async () => parent.into);
  }

  /** The place of an open subvolume among those that are planned. */
  async #plan(descriptor: number, into: () => Promise<OpenFolder>): Promise<number> {
    const { dev, ino } = fstatSync(descriptor);
    const known = this.#byDevice.get(dev);
    if (known !== undefined) return known;
    if (ino !== subvolumeInode) throw new StillError('EINVAL', 'it was replaced by another folder meanwhile');
    if (this.subvolumes.length >= mostSubvolumes)
      throw new StillError('EMFILE', `there are more than ${mostSubvolumes} subvolumes`);
    const nested = new Set((await nestedSubvolumes(descriptor)).map(({ id }) => id));
    this.subvolumes.push({ descriptor, into: await into(), nested });
    this.#byDevice.set(dev, this.subvolumes.length - 1);
    return this.subvolumes.length - 1;
  }

  /** What lies where something is mounted is not seen. */
  #hide(at: readonly Name[]): void {
    if (at.length === 0) return;
    const isSeen = (other: { readonly at: readonly Name[] }): boolean =>
      at.some((name, i) => other.at[i] !== name);
    this.places.splice(0, Infinity, ...this.places.filter(isSeen));
    this.omitted.splice(0, Infinity, ...this.omitted.filter(isSeen));
  }

  #leaveOut(at: readonly Name[], source: string, reason: string): void {
    this.#hide(at);
    this.places.push({ at, subvolume: undefined, within: '' as Name, source });
    this.omitted.push({ at, reason });
  }

  async #open(path: string): Promise<FileHandle> {
    const file = await open(path, folderFlags);
    this.#files.push(file);
    return file;
  }
}

/** The path of the subvolume that a folder lies in. EINVAL: it lies in none. */
async function subvolumePathOf(folder: string): Promise<string> {
  const { dev } = await stat(folder);
  for (let path = folder; ; path = dirname(path)) {
    const status = await stat(path);
    if (status.dev === dev && status.ino === subvolumeInode && (await isBtrfs(path))) return path;
    if (status.dev !== dev || path === '/')
      throw new StillError('EINVAL', `${folder} lies in no subvolume of a btrfs that can be seen here`);
  }
}

async function isBtrfs(path: string): Promise<boolean> {
  const file = await open(path, folderFlags);
  try {
    await btrfsUuid(file.fd);
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOTTY')) return false;
    throw error;
  } finally {
    await file.close();
  }
}

/** What is left of a path when it begins with another: `a/b` below `a` is `b`. Undefined where it does not, or is it itself. */
function pathBelow(folder: Name, path: Name): Name | undefined {
  if (folder === '') return path;
  return path.startsWith(`${folder}/`) ? (path.slice(folder.length + 1) as Name) : undefined;
}
