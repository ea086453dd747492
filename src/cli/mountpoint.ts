import { opendir, readlink, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { GuestSettings } from '../config/guest-settings.js';
import type { Settings, StoreSettings } from '../config/settings.js';
import { hasCode, messageOf } from '../errors.js';
import type { Logger } from '../log.js';
import { CommandError, ExitCode } from './exit-code.js';
import { isFuse, isStillfs, mountAt, mountTable } from './mount-table.js';
import { isWithin } from './mount-users.js';
import { endMount, isStale } from './unmounting.js';

/** Whether somebody else has mounted already and passes the descriptor of /dev/fuse, as fuse(8) has it. */
export function isDescriptor(mountpoint: string): boolean {
  return /^\/dev\/fd\/\d+$/.test(mountpoint);
}

/** As many links as Linux follows in one path. */
const mostLinks = 40;

/** The real path of something whose last part may be a mount that does not answer, or a link to one. */
export async function pathWithoutEntering(path: string): Promise<string> {
  let place = path;
  for (let links = 0; links < mostLinks && place !== '/'; links++) {
    const folder = await realpath(dirname(place));
    place = join(folder, basename(place));
    // readlink(2) asks the kernel alone what a mount's root is, not its server.
    const target = await readlink(place).catch(() => undefined);
    if (target === undefined) return place;
    place = resolve(folder, target);
  }
  return place;
}

/** /dev/fuse's device number, 10:229, as stat(2) has it (Documentation/admin-guide/devices.txt). */
const fuseDevice = 10 * 256 + 229;

async function refuseUnlessFuseDevice(path: string): Promise<void> {
  let found: string;
  try {
    const { rdev } = await stat(path);
    if (rdev === fuseDevice) return;
    found = 'it is something else';
  } catch {
    found = 'there is none of that number';
  }
  throw new CommandError(
    ExitCode.usage,
    `${path} is no open descriptor of /dev/fuse: ${found}; mount with -o fd=N and pass that descriptor on`,
  );
}

/**
 * The real path of a folder that can be mounted on: there, empty, nothing mounted on it, no store around or below it.
 * A mount whose server is gone is taken away first.
 */
export async function readyMountpoint(
  path: string,
  { stores, guests, state, cache }: Pick<Settings, 'stores' | 'guests' | 'state' | 'cache'>,
  log: Logger,
): Promise<string> {
  if (isDescriptor(path)) {
    await refuseUnlessFuseDevice(path);
    return path;
  }
  await removeStale(path, log);
  let real: string;
  try {
    real = await realpath(path);
  } catch (error) {
    throw unusable(path, error);
  }
  const mounted = mountAt(await mountTable(), real);
  if (mounted) {
    const advice = isStillfs(mounted) ? `end that first: stillfs umount ${path}` : 'choose another folder';
    throw new CommandError(
      ExitCode.usage,
      `${path} has ${isStillfs(mounted) ? 'stillfs' : mounted.type} mounted on it already; ${advice}`,
    );
  }
  for (const store of stores) refuseOverlap(real, store, await realStore(store));
  for (const guest of guests) await refuseGuestWithin(real, guest);
  if (guests.length > 0) await refuseWithin(real, 'the state folder', state);
  if (stores.length > 0) await refuseWithin(real, 'the cache folder', cache.folder);
  await refuseUnlessEmpty(path, real);
  return real;
}

/** Takes away what a daemon left behind that was killed. */
async function removeStale(path: string, log: Logger): Promise<void> {
  let place: string;
  try {
    place = await pathWithoutEntering(path);
  } catch (error) {
    throw unusable(path, error);
  }
  for (;;) {
    const mount = mountAt(await mountTable(), place);
    if (!mount || !isFuse(mount) || !(await isStale(place))) return;
    await endMount(place, true);
    log.warn({ mountpoint: place }, 'took away a mount whose server was gone');
  }
}

/** The real path of a store's folder, which must be there. */
export async function realStore(store: StoreSettings): Promise<string> {
  try {
    const real = await realpath(store.path);
    if ((await stat(real)).isDirectory()) return real;
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) {
      throw new CommandError(ExitCode.usage, `the store "${store.name}" can't be used`, { cause: error });
    }
    throw new CommandError(ExitCode.usage, `the store "${store.name}" is not there: no folder ${store.path}`);
  }
  throw new CommandError(ExitCode.usage, `the store "${store.name}" is not a folder: ${store.path}`);
}

function refuseOverlap(mountpoint: string, store: StoreSettings, storePath: string): void {
  if (isWithin(mountpoint, storePath)) {
    throw new CommandError(
      ExitCode.usage,
      `${mountpoint} lies in the store "${store.name}" (${storePath}): the mount would show itself; choose a folder elsewhere`,
    );
  }
  if (isWithin(storePath, mountpoint)) {
    throw new CommandError(
      ExitCode.usage,
      `the store "${store.name}" (${storePath}) lies in ${mountpoint}: the mount would hide it; choose a folder elsewhere`,
    );
  }
}

/** What a running guest's snapshot needs must not wait for the mount that serves it. */
async function refuseWithin(mountpoint: string, what: string, path: string): Promise<void> {
  const real = await realpath(path).catch(() => resolve(path));
  if (!isWithin(real, mountpoint)) return;
  throw new CommandError(
    ExitCode.usage,
    `${what} (${path}) lies in ${mountpoint}: the mount would hide it; choose a folder elsewhere`,
  );
}

async function refuseGuestWithin(mountpoint: string, guest: GuestSettings): Promise<void> {
  if (guest.type === 'qemu')
    return refuseWithin(mountpoint, `the fleecing folder of guest ${guest.id}`, guest.fleecing);
  const { id, rootfs, snapshot } = guest;
  if (rootfs !== undefined) await refuseWithin(mountpoint, `the root file system of guest ${id}`, rootfs);
  if (snapshot.kind === 'btrfs' && snapshot.folder !== undefined)
    await refuseWithin(mountpoint, `the folder of snapshots of guest ${id}`, snapshot.folder);
}

async function refuseUnlessEmpty(path: string, real: string): Promise<void> {
  try {
    const folder = await opendir(real);
    const first = await folder.read();
    await folder.close();
    if (first === null) return;
  } catch (error) {
    throw unusable(path, error);
  }
  throw new CommandError(
    ExitCode.usage,
    `${path} is not empty, and the mount would hide what is in it; choose an empty folder`,
  );
}

function unusable(path: string, error: unknown): CommandError {
  if (hasCode(error, 'ENOENT')) {
    return new CommandError(
      ExitCode.usage,
      `there is no folder ${path} to mount on; make one: mkdir -p ${path}`,
    );
  }
  if (hasCode(error, 'ENOTDIR')) return new CommandError(ExitCode.usage, `${path} is not a folder`);
  return new CommandError(ExitCode.usage, `${path} can't be mounted on: ${messageOf(error)}`);
}
