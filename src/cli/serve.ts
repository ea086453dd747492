import { stat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { Mounted, Transport } from '../../mount/transport.js';
import { ArchiveHost } from '../archives/hosted/archive-host.js';
import type { TransportName } from '../config/schema.js';
import type { Settings } from '../config/settings.js';
import { hasCode, messageOf } from '../errors.js';
import type { GuestSource } from '../guests/guest.js';
import { openLayout } from '../layout/layout.js';
import type { Logger } from '../log.js';
import type { BackupStore } from '../stores/store.js';
import type { Tree } from '../tree/tree.js';
import { CommandError, ExitCode } from './exit-code.js';
import { serverTitle } from './mount-server.js';
import { mountAt, mountTable } from './mount-table.js';
import { mountUsers, named } from './mount-users.js';
import { isDescriptor } from './mountpoint.js';
import { openCache } from './open-cache.js';
import { closeGuests, openGuests } from './open-guests.js';
import { closeStores, openStores } from './open-stores.js';
import { aborted, type StopSignals } from './stop-signals.js';

/** How long stores may take to let go after the mount has ended. One that hangs is left to the system. */
const closingMilliseconds = 5000;

/** What to serve, where. */
export interface Serving {
  readonly settings: Settings;
  /** A real path, or `/dev/fd/N`. */
  readonly mountpoint: string;
  /** What the mount table calls the mount's source. */
  readonly source: string;
  readonly log: Logger;
  readonly stop: StopSignals;
  /** Called once the mounted tree has answered. */
  readonly announce: () => void;
}

/** Mounts, serves until the mount ends or a signal asks for its end, and lets go of everything. */
export async function serve(serving: Serving): Promise<ExitCode> {
  const { settings, log, stop } = serving;
  const transport = await transportNamed(settings.transport);
  const archives = new ArchiveHost(
    settings.stores.length > 0 ? await openCache(settings.cache, log) : undefined,
  );
  try {
    const stores = await openStores(settings.stores, log, { archives, signal: stop.asked });
    const guests = openGuests(settings.guests, settings.state, log);
    const tree = openLayout({ stores, guests, log, openToOthers: settings.openToOthers });
    try {
      stop.asked.throwIfAborted();
      return await serveTree(tree, transport, serving);
    } finally {
      await close(tree, stores, guests, serving);
    }
  } finally {
    await archives.close();
  }
}

async function serveTree(tree: Tree, transport: Transport, serving: Serving): Promise<ExitCode> {
  const { settings, mountpoint, source, log, stop, announce } = serving;
  const { allowOther, readOnly } = settings;
  let mounted: Mounted;
  try {
    const mounting = transport(tree, { mountpoint, source, allowOther, readOnly, log });
    await Promise.race([mounting, aborted(stop.forced)]);
    stop.forced.throwIfAborted();
    mounted = await mounting;
  } catch (error) {
    stop.forced.throwIfAborted();
    if (isDescriptor(mountpoint) && hasCode(error, 'EPERM')) {
      throw new CommandError(
        ExitCode.usage,
        `nothing is mounted over ${mountpoint}: mount(2) with -o fd=N comes first`,
        { cause: error },
      );
    }
    const code = hasCode(error, 'EBUSY') ? ExitCode.busy : ExitCode.unavailable;
    throw new CommandError(code, `can't mount on ${mountpoint}`, { cause: error });
  }
  process.title = serverTitle(mountpoint);
  const ended = mounted.ended.then(() => undefined);
  const asked = aborted(stop.asked);
  try {
    const answered = isDescriptor(mountpoint) ? undefined : stat(mountpoint);
    await Promise.race([ended, asked, answered]);
    if (!stop.asked.aborted) {
      for (const lack of mounted.lacks) log.warn({ transport: settings.transport }, lack);
      announce();
    }
    await Promise.race([ended, asked]);
  } catch (error) {
    await mounted.unmount({ force: true });
    throw error;
  }
  if (stop.asked.aborted) await end(mounted, serving);
  await Promise.race([ended, aborted(stop.forced)]);
  return ExitCode.fine;
}

/** Ends the mount though somebody may use it: whoever asked wants the program to end. Says who it was. */
async function end(mounted: Mounted, { mountpoint, log, stop }: Serving): Promise<void> {
  try {
    if (!stop.forced.aborted) {
      await Promise.race([mounted.unmount(), aborted(stop.forced)]);
      if (!stop.forced.aborted) return;
    }
  } catch (error) {
    if (!hasCode(error, 'EBUSY')) {
      log.warn({ error }, 'the mount did not end in good order, so it is ended by force');
    } else {
      const mount = mountAt(await mountTable(), mountpoint);
      const users = mount ? named(await mountUsers(mount)) : "somebody who can't be found";
      log.warn({ mountpoint }, `the mount is ended though it is in use by ${users}`);
    }
  }
  await mounted.unmount({ force: true });
}

async function close(
  tree: Tree,
  stores: readonly BackupStore[],
  guests: readonly GuestSource[],
  { log, stop }: Serving,
): Promise<void> {
  // Their keepers go on where they take longer; nobody is left frozen.
  await Promise.race([closeGuests(guests, log), aborted(stop.forced)]);
  const timeout = new AbortController();
  const late = delay(closingMilliseconds, 'late', { signal: timeout.signal }).catch(() => 'late');
  const closed = tree
    .close()
    .then(() => closeStores(stores))
    .then(
      () => 'closed',
      (error: unknown) => {
        log.warn(`a store did not close in good order: ${messageOf(error)}`);
        return 'closed';
      },
    );
  const end = await Promise.race([closed, late, aborted(stop.forced)]);
  timeout.abort();
  if (end !== 'closed') log.warn('a store does not answer; it is left as it is');
}

async function transportNamed(name: TransportName): Promise<Transport> {
  if (name === 'kernel') return (await import('../../mount/kernel/mount.js')).mountOverKernel;
  try {
    return (await import('../../mount/fuse-native/mount.js')).mountOverFuseNative;
  } catch (error) {
    throw new CommandError(
      ExitCode.unavailable,
      'the transport fuse-native needs the package of that name and libfuse 2 (Debian: apt-get install libfuse2)',
      { cause: error },
    );
  }
}
