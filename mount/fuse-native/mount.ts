import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { messageOf, StillError } from '../../src/errors.js';
import { unmount } from '../../src/posix/unmount.js';
import type { Tree } from '../../src/tree/tree.js';
import { unmountByFusermount } from '../fusermount.js';
import type { Mounted, MountOptions, Transport } from '../transport.js';
import { ConnectionWatch, fuseDescriptors } from './connection-watch.js';
import { lacks } from './lacks.js';
import type { MendedFuse } from './mended-fuse.js';
import { loadFuseNative } from './package.js';
import { type Limits, PathSession } from './path-session.js';

/** A mount over fuse-native, which can tell of itself. */
export interface FuseNativeMounted extends Mounted {
  /** How many operations, nodes, names, trees and open files there are at present, and how many threads libfuse has started so far. */
  counts(): ReturnType<PathSession['counts']> & { readonly threads: number };
}

/** What tests set otherwise. */
export interface FuseNativeOptions extends MountOptions {
  readonly limits?: Limits;
  /** How many names are kept. */
  readonly names?: number;
}

/** The package cuts longer ones off (`NAPI_ARGV_UTF8(mnt, 1024, 0)`). */
const longestArgument = 1023;

/** Mounts over the fuse-native package: libfuse 2, by paths. */
export const mountOverFuseNative = (async (
  tree: Tree,
  options: FuseNativeOptions,
): Promise<FuseNativeMounted> => {
  const isRoot = process.geteuid?.() === 0;
  await check(options, isRoot);
  const Fuse = await loadFuseNative();
  const session = new PathSession(tree, options);
  const fuse = new Fuse(options.mountpoint, mountOptions(options), session.operations());
  let watch: ConnectionWatch;
  try {
    watch = await inTurn(() => mount(fuse, options.mountpoint));
  } catch (error) {
    await session.close();
    throw error;
  }
  const ended = watch.ended.then(async () => {
    await session.close();
    await new Promise<void>((resolve, reject) => {
      fuse.unmount((error) => (error ? reject(error) : resolve()));
    });
  });
  // Who wants to know looks at `ended`.
  ended.catch(() => undefined);
  return {
    lacks,
    ended,
    counts: () => ({ ...session.counts(), threads: fuse.threads }),
    unmount: async ({ force = false } = {}) => {
      if (watch.over) return;
      if (isRoot) await unmount(options.mountpoint, force);
      else await unmountByFusermount('fusermount', options.mountpoint, force);
      // What a lazy unmount by a user leaves connected is refused everything from here on.
      if (force) watch.stop();
      else watch.hurry();
    },
  };
}) satisfies Transport;

/** Refuses what libfuse would refuse with less of a reason, or would take and do wrong. */
async function check({ mountpoint }: MountOptions, isRoot: boolean): Promise<void> {
  if (/^\/dev\/fd\/\d+$/.test(mountpoint)) {
    throw new StillError(
      'EINVAL',
      `only the transport kernel takes a ready descriptor such as ${mountpoint}`,
    );
  }
  if (Buffer.byteLength(mountpoint) > longestArgument) {
    throw new StillError(
      'ENAMETOOLONG',
      `${mountpoint} is longer than ${longestArgument} bytes, which is all that this transport takes`,
    );
  }
  try {
    await access('/dev/fuse', constants.R_OK | constants.W_OK);
  } catch (error) {
    throw new StillError(
      'ENODEV',
      '/dev/fuse can not be opened; is the fuse module loaded, and are you allowed to use it?',
      { cause: error },
    );
  }
  if (!isRoot && !(await isProgram('fusermount'))) {
    throw new StillError(
      'EPERM',
      'only root may mount without fusermount: install it (Debian: apt-get install fuse3)',
    );
  }
}

async function isProgram(name: string): Promise<boolean> {
  const folders = (process.env.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
  const found = await Promise.allSettled(folders.map((folder) => access(join(folder, name), constants.X_OK)));
  return found.some(({ status }) => status === 'fulfilled');
}

function mountOptions({ readOnly, allowOther, source }: MountOptions): string[] {
  const options = [
    'nosuid',
    'nodev',
    ...(readOnly ? ['ro'] : []),
    'default_permissions',
    ...(allowOther ? ['allow_other'] : []),
    // They hold for all files alike. With 0 a listing of many files took four times as long as with a second.
    'entry_timeout=1',
    'attr_timeout=1',
    'big_writes',
    'subtype=stillfs',
  ];
  // A comma would end the option; what is too long is only what a mount table shows.
  const name = source.replaceAll(/[,\\]/g, '_');
  const room = longestArgument - Buffer.byteLength(`-o${options.join(',')},fsname=`);
  const cut = Buffer.byteLength(name) > room ? 'stillfs' : name;
  return [...options, `fsname=${cut}`];
}

/** Mounts, and settles when the kernel's first request has been answered. */
async function mount(fuse: MendedFuse, mountpoint: string): Promise<ConnectionWatch> {
  const before = new Set(fuseDescriptors());
  await new Promise<void>((resolve, reject) => {
    fuse.mount((error) => (error ? reject(refusal(error, mountpoint)) : resolve()));
  });
  const made = fuseDescriptors().find((descriptor) => !before.has(descriptor));
  if (made === undefined)
    throw new StillError('ENODEV', `the mount on ${mountpoint} ended before it answered`);
  return new ConnectionWatch(made);
}

/** The package's few sentences, with what they mean. */
function refusal(error: Error, mountpoint: string): StillError {
  const said = messageOf(error);
  if (said === 'Mountpoint does not exist')
    return new StillError('ENOENT', `there is no folder ${mountpoint}`);
  if (said === 'Mountpoint is not a directory')
    return new StillError('ENOTDIR', `${mountpoint} is no folder`);
  if (said === 'Mountpoint in use') {
    return new StillError(
      'EBUSY',
      `${mountpoint} is the root of another mount; this transport takes no such folder`,
    );
  }
  return new StillError(
    'EPERM',
    `mounting on ${mountpoint} failed; libfuse has written the reason to standard error`,
    { cause: error },
  );
}

let turn: Promise<unknown> = Promise.resolve();

/** One mount at a time, so that the descriptor that libfuse has opened can be told. */
function inTurn<T>(work: () => Promise<T>): Promise<T> {
  const result = turn.then(work);
  turn = result.catch(() => undefined);
  return result;
}
