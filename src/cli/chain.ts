import { Command } from 'commander';
import { ConfigError } from '../config/file.js';
import { settingsFrom } from '../config/settings.js';
import { hasCode, messageOf } from '../errors.js';
import { dropChain } from '../guests/qemu/chains.js';
import { describeGuest, type QemuGuestDescription } from '../guests/qemu/guest-description.js';
import { Monitor } from '../guests/qemu/qmp/monitor.js';
import type { QemuGuestSettings } from '../guests/qemu/settings.js';
import { columns } from './columns.js';
import { CommandError, ExitCode } from './exit-code.js';
import { configOption, guestOption, type Invocation, stateOption } from './invocation.js';

interface ChainFlags {
  readonly config?: string;
  readonly guest?: readonly string[];
  readonly state?: string;
  readonly json?: boolean;
}

const chainHelp = `
A chain is a series of incremental snapshots (CHAIN@NAME). On each disk it has a bitmap of what changed since its last
success. A dropped one makes the chain's next snapshot a whole one; QEMU's loadvm and "qemu-img snapshot -a" need that.

Examples:
  stillfs chain list 100
  stillfs chain drop 100 nightly
  stillfs chain list 100 --guest id=100,qmp=/run/qemu/100.qmp,fleecing=/var/lib/fleecing --json`;

/** `stillfs chain`: the bitmaps that incremental snapshots have left on a guest's disks. */
export function chainCommand(invocation: Invocation): Command {
  const command = new Command('chain')
    .description('show and drop the chains of incremental snapshots of a running guest')
    .addHelpText('after', chainHelp);
  command
    .command('list')
    .description('list the chains of a guest, disk by disk')
    .argument('<GUEST>', "the guest's id")
    .addOption(configOption())
    .addOption(guestOption())
    .addOption(stateOption())
    .option('--json', 'print JSON for programs')
    .action(async (id: string, flags: ChainFlags) => {
      invocation.exitCode = await list(id, flags);
    });
  command
    .command('drop')
    .description('remove the bitmaps of a chain, or of all chains')
    .argument('<GUEST>', "the guest's id")
    .argument('[CHAIN]', 'the chain; all if left out')
    .addOption(configOption())
    .addOption(guestOption())
    .action(async (id: string, chain: string | undefined, flags: ChainFlags) => {
      invocation.exitCode = await drop(id, chain, flags);
    });
  return command;
}

async function list(id: string, flags: ChainFlags): Promise<ExitCode> {
  const { guest, state } = await guestNamed(id, flags);
  const signal = new AbortController().signal;
  const found = await describeGuest(monitorOf(guest), guest, state, signal);
  if (found.state === 'off' || found.state === 'unknown') {
    const why = found.reason ?? 'it is off; its chains are told when it is on';
    throw new CommandError(ExitCode.failure, `the chains of guest ${id} can't be listed: ${why}`);
  }
  process.stdout.write(flags.json ? `${JSON.stringify(found.chains, null, 2)}\n` : table(found));
  return ExitCode.fine;
}

function table({ chains }: QemuGuestDescription): string {
  const rows = chains.flatMap(({ name, disks }) =>
    disks.map((disk) => [
      name,
      disk.name,
      disk.state,
      disk.persistent ? 'yes' : 'no',
      String(disk.dirty),
      disk.base,
    ]),
  );
  return columns([['CHAIN', 'DISK', 'STATE', 'PERSISTENT', 'DIRTY', 'BASE'], ...rows]);
}

async function drop(id: string, chain: string | undefined, flags: ChainFlags): Promise<ExitCode> {
  const { guest } = await guestNamed(id, flags);
  try {
    const { bitmaps } = await dropChain(monitorOf(guest), chain, new AbortController().signal);
    process.stdout.write(`removed ${bitmaps} bitmap${bitmaps === 1 ? '' : 's'} of guest ${id}\n`);
    return ExitCode.fine;
  } catch (error) {
    const code = hasCode(error, 'EBUSY') ? ExitCode.busy : ExitCode.failure;
    throw new CommandError(code, `the chains of guest ${id} were not dropped: ${messageOf(error)}`);
  }
}

const monitorOf = (guest: QemuGuestSettings): Monitor => new Monitor(guest.monitor, `guest ${guest.id}`);

async function guestNamed(
  id: string,
  flags: ChainFlags,
): Promise<{ guest: QemuGuestSettings; state: string }> {
  const settings = await settingsFrom({
    ...(flags.config !== undefined && { config: flags.config }),
    guests: flags.guest ?? [],
    ...(flags.state !== undefined && { state: flags.state }),
  });
  const guest = settings.guests.find((each) => each.id === id);
  if (guest?.type === 'lxc')
    throw new ConfigError([
      `guest ${id} is a container, which has no chains: each of its snapshots is whole`,
    ]);
  if (guest) return { guest, state: settings.state };
  const known = settings.guests.map((each) => each.id).join(', ');
  throw new ConfigError([
    `no guest ${id} is configured${known ? `; known: ${known}` : ': give --guest or --config'}`,
  ]);
}
