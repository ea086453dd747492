import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import { hasCode, messageOf } from '../errors.js';
import { CommandError, ExitCode } from './exit-code.js';
import type { Invocation } from './invocation.js';
import { processEnded, serverOf } from './mount-server.js';
import { isStillfs, type Mount, mountAt, mountTable } from './mount-table.js';
import { mountUsers, named } from './mount-users.js';
import { pathWithoutEntering } from './mountpoint.js';
import { endMount, isStale } from './unmounting.js';

/** How long the serving process may take to end after its mount is gone. */
const endingMilliseconds = 30_000;

/** `stillfs umount`: ends a mount and waits until its process has ended. */
export function umountCommand(invocation: Invocation): Command {
  return new Command('umount')
    .description('end a mount, and return when the process that served it has ended')
    .argument('<MOUNTPOINT>', 'where it is mounted')
    .addHelpText(
      'after',
      '\nA mount that is in use stays; who uses it is named. One whose process was killed is taken away.\n' +
        '\nExample:\n  stillfs umount /mnt/backups',
    )
    .action(async (mountpoint: string) => {
      invocation.exitCode = await umount(mountpoint);
    });
}

async function umount(path: string): Promise<ExitCode> {
  const place = await placeOf(path);
  const mount = mountAt(await mountTable(), place);
  if (!mount) throw new CommandError(ExitCode.failure, `${path} is not mounted`);
  if (!isStillfs(mount)) {
    throw new CommandError(
      ExitCode.failure,
      `${path} is a mount of ${mount.type}, not of stillfs; see umount(8)`,
    );
  }
  const server = await serverOf(mount);
  await end(path, mount);
  await gone(mount);
  if (server !== undefined && !(await processEnded(server, endingMilliseconds))) {
    throw new CommandError(
      ExitCode.failure,
      `${path} is unmounted, but its process ${server} has not ended; another namespace may hold the mount`,
    );
  }
  return ExitCode.fine;
}

/** The path as the mount table has it. */
async function placeOf(path: string): Promise<string> {
  try {
    return await pathWithoutEntering(path.length > 1 ? path.replace(/\/+$/, '') : path);
  } catch (error) {
    throw new CommandError(ExitCode.failure, `${path} is not mounted`, { cause: error });
  }
}

async function end(path: string, mount: Mount): Promise<void> {
  try {
    await endMount(mount.mountpoint, false);
  } catch (error) {
    if (hasCode(error, 'EBUSY')) {
      if (await isStale(mount.mountpoint)) return endMount(mount.mountpoint, true);
      const users = named(await mountUsers(mount));
      throw new CommandError(ExitCode.busy, `${path} is in use by ${users}`);
    }
    const code = hasCode(error, 'EPERM') ? ExitCode.unavailable : ExitCode.failure;
    throw new CommandError(code, `${path} can't be unmounted: ${messageOf(error)}`);
  }
}

/** umount(2) returns when the mount is out of this namespace's table; fusermount3 is a process of its own. */
async function gone(mount: Mount): Promise<void> {
  while (
    (await mountTable()).some((other) => other.id === mount.id && other.mountpoint === mount.mountpoint)
  ) {
    await delay(20);
  }
}
