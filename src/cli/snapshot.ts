import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import { hasCode } from '../errors.js';
import { parseSnapshotName } from '../guests/guest.js';
import { snapshotsFolder } from '../provider/mounted/mounted-snapshot.js';
import { whyRefused } from '../provider/mounted/refusal.js';
import { columns } from './columns.js';
import { CommandError, ExitCode } from './exit-code.js';
import { mountOf } from './guest-mount.js';
import type { Invocation } from './invocation.js';

interface SnapshotFlags {
  readonly mount?: string;
  readonly wait?: boolean;
  readonly json?: boolean;
}

/** How often --wait tries again, in milliseconds. */
const retryMilliseconds = 500;

const snapshotHelp = `
These commands do no more than mkdir, echo and rmdir in MOUNT/guests/GUEST/snapshots/ do. Without --mount the one stillfs mount
is used that has the guest.

Examples:
  stillfs snapshot take 100 nightly@monday     prints the snapshot's folder
  stillfs snapshot end 100 nightly@monday      all is safely backed up: the chain goes on from here
  stillfs snapshot abort 100 nightly@monday    it is not: nothing that changed is forgotten`;

/** `stillfs snapshot`: a thin layer over the files of a mount. */
export function snapshotCommand(invocation: Invocation): Command {
  const command = new Command('snapshot')
    .description('take and end snapshots of a running guest, through a mount')
    .addHelpText('after', snapshotHelp);
  const sub = (name: string, description: string): Command =>
    command
      .command(name)
      .description(description)
      .argument('<GUEST>', "the guest's id")
      .option('--mount <mountpoint>', 'where stillfs is mounted');
  const named = (name: string, description: string): Command =>
    sub(name, description).argument('<NAME>', 'NAME, or CHAIN@NAME for an incremental one');

  named('take', 'take a snapshot and print its folder')
    .option('--wait', 'wait while another snapshot of the guest is open')
    .option('--json', 'print its snapshot.json')
    .action(async (guest: string, name: string, flags: SnapshotFlags) => {
      invocation.exitCode = await take(guest, name, flags);
    });
  named('end', 'record success, and let the snapshot go').action(
    async (guest: string, name: string, flags: SnapshotFlags) => {
      invocation.exitCode = await end(guest, name, 'success', flags);
    },
  );
  named('abort', 'let the snapshot go as a failure').action(
    async (guest: string, name: string, flags: SnapshotFlags) => {
      invocation.exitCode = await end(guest, name, 'failure', flags);
    },
  );
  sub('list', 'list the open snapshots')
    .option('--json', 'print JSON for programs')
    .action(async (guest: string, flags: SnapshotFlags) => {
      invocation.exitCode = await list(guest, flags);
    });
  return command;
}

async function take(guest: string, name: string, flags: SnapshotFlags): Promise<ExitCode> {
  mustBeName(name);
  const folder = join(await snapshotsOf(guest, flags), name);
  for (;;) {
    try {
      await mkdir(folder);
      break;
    } catch (error) {
      if (flags.wait && hasCode(error, 'EBUSY')) {
        await delay(retryMilliseconds);
        continue;
      }
      throw refused(`no snapshot ${name} of guest ${guest} was taken`, error);
    }
  }
  process.stdout.write(flags.json ? await readFile(join(folder, 'snapshot.json'), 'utf8') : `${folder}\n`);
  return ExitCode.fine;
}

async function end(
  guest: string,
  name: string,
  outcome: 'success' | 'failure',
  flags: SnapshotFlags,
): Promise<ExitCode> {
  mustBeName(name);
  const folder = join(await snapshotsOf(guest, flags), name);
  try {
    await writeFile(join(folder, 'outcome'), `${outcome}\n`);
  } catch (error) {
    throw refused(
      `the outcome of snapshot ${name} of guest ${guest} was not recorded, and it stays open`,
      error,
    );
  }
  try {
    await rmdir(folder);
  } catch (error) {
    throw refused(`snapshot ${name} of guest ${guest} did not end in good order`, error);
  }
  return ExitCode.fine;
}

async function list(guest: string, flags: SnapshotFlags): Promise<ExitCode> {
  const folder = await snapshotsOf(guest, flags);
  const described: unknown[] = [];
  const rows = [['NAME', 'OUTCOME']];
  for (const name of (await readdir(folder)).sort()) {
    described.push(JSON.parse(await readFile(join(folder, name, 'snapshot.json'), 'utf8')));
    rows.push([name, (await readFile(join(folder, name, 'outcome'), 'utf8')).trim()]);
  }
  process.stdout.write(flags.json ? `${JSON.stringify(described, null, 2)}\n` : columns(rows));
  return ExitCode.fine;
}

function mustBeName(name: string): void {
  if (parseSnapshotName(name)) return;
  const rule = 'NAME or CHAIN@NAME, each of letters, digits, ".", "_" and "-", at most 63';
  throw new CommandError(ExitCode.usage, `"${name}" can't be a snapshot's name: expected ${rule}`);
}

/** The folder of a guest's snapshots in the mount that has the guest. */
async function snapshotsOf(guest: string, { mount }: SnapshotFlags): Promise<string> {
  return snapshotsFolder(await mountOf(guest, mount), guest);
}

function refused(what: string, error: unknown): CommandError {
  const code = hasCode(error, 'EBUSY') ? ExitCode.busy : ExitCode.failure;
  return new CommandError(code, `${what}: ${whyRefused(error)} (the log of the mount says more)`);
}
