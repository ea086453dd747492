import { Command, Option } from 'commander';
import { ConfigError } from '../config/file.js';
import { type LogLevel, type TransportName, transports } from '../config/schema.js';
import { defaultConfigFile, type Said, type Settings, settingsFrom } from '../config/settings.js';
import { type Logger, openLog } from '../log.js';
import { readinessOption, starter, startInBackground } from './background.js';
import { ExitCode, exitCodeOf } from './exit-code.js';
import { type FstabOptions, parseFstabOptions } from './fstab-options.js';
import {
  cacheOption,
  collected,
  configOption,
  guestOption,
  type Invocation,
  logLevelOption,
  stateOption,
  storeOption,
  tellPlaces,
} from './invocation.js';
import { readyMountpoint } from './mountpoint.js';
import { serve } from './serve.js';
import { stopSignals } from './stop-signals.js';
import { queueDepths } from './thread-pool.js';

interface MountFlags {
  readonly config?: string;
  readonly store?: readonly string[];
  readonly guest?: readonly string[];
  readonly state?: string;
  readonly cache?: string;
  readonly transport?: TransportName;
  readonly allowOther?: boolean;
  readonly openToOthers?: boolean;
  readonly background?: boolean;
  readonly logFile?: string;
  readonly logLevel?: LogLevel;
  readonly option?: readonly string[];
  readonly source?: string;
  readonly reportReadiness?: boolean;
}

/** `stillfs mount`: shows stores and guests as one tree until the mount is ended. */
export function mountCommand(invocation: Invocation): Command {
  return new Command('mount')
    .description('show stores of backups and running guests as one tree, mounted at MOUNTPOINT')
    .argument('[MOUNTPOINT]', 'an empty folder; left out: the one of the configuration')
    .addOption(configOption())
    .addOption(storeOption())
    .addOption(guestOption())
    .addOption(stateOption())
    .addOption(cacheOption())
    .addOption(
      new Option('--transport <name>', 'the way to the kernel (default: kernel)').choices(transports),
    )
    .option('--allow-other', 'let other users in; the kernel checks their permissions')
    .option('--open-to-others', "with --allow-other: let them into backups/, which is root's otherwise")
    .option('--background', 'return once the tree answers, and serve it in the background')
    .option('--log-file <file>', 'with --background: where the log is appended (default: nowhere)')
    .addOption(logLevelOption())
    .addOption(
      new Option(
        '-o, --option <list>',
        'options as mount(8) gives them: ro,allow_other,store=DIR…',
      ).argParser(collected),
    )
    .addOption(new Option('--source <text>', 'what the mount table calls the source').hideHelp())
    .addOption(new Option(readinessOption).hideHelp())
    .addHelpText('after', mountHelp)
    .action(async (mountpoint: string | undefined, flags: MountFlags) => {
      invocation.exitCode = await mount(mountpoint, flags, invocation);
    });
}

const mountHelp = `
Stores and guests named here stand in place of those of the configuration.
Without --background, one line "mounted MOUNTPOINT" is printed once the tree answers; Ctrl-C ends the mount.

Examples:
  stillfs mount --store /var/backups /mnt/backups
  stillfs mount --store nas=/net/nas/vm --store usb=/media/disk --background /mnt/backups
  stillfs mount --guest id=100,qmp=/run/qemu/100.qmp,fleecing=/var/lib/fleecing /mnt/guests
  stillfs mount --guest id=201,type=lxc,conf=/var/lib/lxc/web/config,snapshot=btrfs /mnt/guests
  stillfs mount -o allow_other,store=/var/backups /mnt/backups`;

async function mount(
  mountpoint: string | undefined,
  flags: MountFlags,
  invocation: Invocation,
): Promise<ExitCode> {
  const fstab = parseFstabOptions(flags.option ?? []);
  const settings = await settingsFrom(said(mountpoint, flags, fstab));
  tellPlaces(invocation, settings);
  const target = settings.mountpoint;
  if (target === undefined) {
    throw new ConfigError(['no MOUNTPOINT: give one, or set mount.mountpoint in the configuration']);
  }
  if (settings.stores.length + settings.guests.length === 0) {
    throw new ConfigError([
      `nothing to show: give --store DIR or --guest …, or set stores or guests in ${flags.config ?? fstab.config ?? defaultConfigFile}`,
    ]);
  }
  const logFile = flags.logFile ?? fstab.logFile;
  if (logFile !== undefined && !flags.background) {
    throw new ConfigError([
      '--log-file goes with --background; in the foreground the log is standard error: 2>>FILE',
    ]);
  }
  queueDepths(settings.stores);
  const log = openLog(settings.logLevel);
  if (flags.reportReadiness || !flags.background) return serveHere(settings, target, flags, log);

  await readyMountpoint(target, settings, log);
  const [command = 'mount', ...rest] = invocation.args;
  return startInBackground([command, readinessOption, ...rest], {
    mountpoint: target,
    ...(logFile !== undefined && { logFile }),
  });
}

/** What the options say, those of `-o` where no option of its own says otherwise. */
function said(mountpoint: string | undefined, flags: MountFlags, fstab: FstabOptions): Said {
  const config = flags.config ?? fstab.config;
  const transport = flags.transport ?? fstab.transport;
  const logLevel = flags.logLevel ?? fstab.logLevel;
  const allowOther = flags.allowOther ?? fstab.allowOther;
  const openToOthers = flags.openToOthers ?? fstab.openToOthers;
  return {
    stores: [...(flags.store ?? []), ...fstab.stores],
    guests: flags.guest ?? [],
    ...(flags.state !== undefined && { state: flags.state }),
    ...(flags.cache !== undefined && { cache: flags.cache }),
    ...(config !== undefined && { config }),
    ...(mountpoint !== undefined && { mountpoint }),
    ...(transport !== undefined && { transport }),
    ...(allowOther !== undefined && { allowOther }),
    ...(openToOthers !== undefined && { openToOthers }),
    ...(fstab.readOnly !== undefined && { readOnly: fstab.readOnly }),
    ...(logLevel !== undefined && { logLevel }),
  };
}

async function serveHere(
  settings: Settings,
  target: string,
  flags: MountFlags,
  log: Logger,
): Promise<ExitCode> {
  const stop = stopSignals();
  const waiting = flags.reportReadiness
    ? starter(() => stop.ask('the end of the process that started it'))
    : undefined;
  let faulty = false;
  process.on('uncaughtException', (error) => {
    faulty = true;
    log.fatal({ error, stack: error.stack }, 'a fault in stillfs itself; the mount is ended');
    stop.ask('a fault in stillfs itself');
  });
  try {
    // The daemon must not keep the folder busy that it was started in.
    if (waiting) process.chdir('/');
    const exitCode = await serve({
      settings,
      mountpoint: await readyMountpoint(target, settings, log),
      source: flags.source ?? sourceOf(settings),
      log,
      stop,
      announce: () => (waiting ? waiting.mounted() : process.stdout.write(`mounted ${target}\n`)),
    });
    return faulty ? ExitCode.failure : exitCode;
  } catch (error) {
    await waiting?.failed(error, exitCodeOf(error));
    throw error;
  }
  // The signals stay ours: the process ends next, and one that comes so late must not change its exit code.
}

function sourceOf({ stores }: Settings): string {
  const [only, ...others] = stores;
  return only && others.length === 0 ? only.path : 'stillfs';
}
