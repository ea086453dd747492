import { StillError } from '../../src/errors.js';
import { unmount } from '../../src/posix/unmount.js';
import type { Tree } from '../../src/tree/tree.js';
import { unmountByFusermount } from '../fusermount.js';
import type { Mounted, MountOptions, Transport } from '../transport.js';
import { Device } from './device.js';
import { mountByFusermount3 } from './fusermount3.js';
import { mountByCommand, openFuseDevice } from './mount-command.js';
import { raiseReadahead } from './readahead.js';
import { KernelSession, type SessionOptions } from './session.js';

/** A mount over /dev/fuse, which can tell of itself. */
export interface KernelMounted extends Mounted {
  /** How many requests, nodes, trees and handles there are at present. */
  counts(): ReturnType<KernelSession['counts']>;
}

/** With what only this transport can be told. */
export type KernelMountOptions = MountOptions & SessionOptions;

/** Mounts by speaking to /dev/fuse directly: with mount(8) as root, with fusermount3 as anybody else, or on a ready `/dev/fd/N`. */
export const mountOverKernel = (async (tree: Tree, options: KernelMountOptions): Promise<KernelMounted> => {
  const ready = /^\/dev\/fd\/(\d+)$/.exec(options.mountpoint)?.[1];
  if (ready !== undefined) return mountReady(tree, options, Number(ready));
  return process.geteuid?.() === 0 ? mountAsRoot(tree, options) : mountAsUser(tree, options);
}) satisfies Transport;

async function mountAsRoot(tree: Tree, options: KernelMountOptions): Promise<KernelMounted> {
  const device = new Device(await openFuseDevice());
  try {
    await mountByCommand(device.descriptor, options);
  } catch (error) {
    device.close();
    throw error;
  }
  const session = new KernelSession(device, tree, options);
  const ended = session.serve();
  await firstOf(session, ended, options);
  const lacks = [await raiseReadahead(options.mountpoint)].filter((lack) => lack !== undefined);
  return {
    lacks,
    ended: ended.finally(() => device.close()),
    counts: () => session.counts(),
    unmount: ({ force = false } = {}) => unmount(options.mountpoint, force),
  };
}

async function mountAsUser(tree: Tree, options: KernelMountOptions): Promise<KernelMounted> {
  const device = new Device(await mountByFusermount3(options));
  const session = new KernelSession(device, tree, options);
  const ended = session.serve();
  await firstOf(session, ended, options);
  return {
    lacks: [
      'files are read through the daemon: only root may have the kernel read them by itself',
      'the kernel reads only 128 KiB ahead: only root may raise it',
    ],
    ended: ended.finally(() => device.close()),
    counts: () => session.counts(),
    unmount: async ({ force = false } = {}) => {
      await unmountByFusermount('fusermount3', options.mountpoint, force);
      if (force) device.close();
    },
  };
}

async function mountReady(
  tree: Tree,
  options: KernelMountOptions,
  descriptor: number,
): Promise<KernelMounted> {
  const device = new Device(descriptor);
  const session = new KernelSession(device, tree, options);
  const ended = session.serve();
  await firstOf(session, ended, options);
  return {
    lacks: ['who mounted must unmount: this daemon ends when they do'],
    ended: ended.finally(() => device.close()),
    counts: () => session.counts(),
    unmount: async () => device.close(),
  };
}

/** Waits until the kernel and we have agreed, or the mount has failed before. */
async function firstOf(session: KernelSession, ended: Promise<void>, options: MountOptions): Promise<void> {
  const early = ended.then(() => {
    throw new StillError('ENODEV', `the mount on ${options.mountpoint} ended before it answered`);
  });
  await Promise.race([session.agreed, early]);
  // From here on the caller watches `ended`.
  early.catch(() => undefined);
}
