import { Command, InvalidArgumentError, Option } from 'commander';
import { ConfigError } from '../config/file.js';
import { mountPath, mountPathRule } from '../config/mount-path.js';
import { plainName, plainNameRule } from '../config/plain-name.js';
import type { LogLevel } from '../config/schema.js';
import type { Settings } from '../config/settings.js';
import { messageOf } from '../errors.js';
import { openLog } from '../log.js';
import { type GuestResult, runBackupJob } from '../provider/backup/backup-job.js';
import { type ContainerForm, containerForms, fileOfForm } from '../provider/container/container-archive.js';
import { ExcludePattern } from '../provider/container/exclude-pattern.js';
import type { ContainerWish } from '../provider/container/store-container.js';
import { type HookCommands, hookPhases } from '../provider/job/hooks.js';
import { columns } from './columns.js';
import { CommandError, ExitCode } from './exit-code.js';
import { mountOf } from './guest-mount.js';
import {
  collected,
  configOption,
  type Invocation,
  logLevelOption,
  settingsOf,
  waitOption,
} from './invocation.js';
import { namedStore } from './named-store.js';
import { rate, wholeNumber } from './option-values.js';
import { bytesText, secondsText } from './report/amounts.js';
import {
  type BackupReport,
  jsonReport,
  logReport,
  storedBytes,
  terminalReport,
} from './report/backup-report.js';
import { failsWith, stopSignals } from './stop-signals.js';
import { version } from './version.js';

interface BackupFlags {
  readonly config?: string;
  readonly mount?: string;
  readonly store?: string;
  readonly chain?: string;
  readonly full?: boolean;
  readonly disk?: readonly string[];
  readonly archive?: ContainerForm;
  readonly exclude?: readonly ExcludePattern[];
  readonly excludeMount?: readonly string[];
  readonly bwlimit?: number;
  readonly jobs: number;
  readonly hook?: readonly string[];
  readonly wait: number;
  readonly json?: boolean;
  readonly logLevel?: LogLevel;
}

const backupHelp = `
Each guest is backed up into STORE/GUEST/TIME/: its disks as qcow2 images, an increment with its backing file in the backup before,
a checksum for each MiB, its configuration. A backup is whole or not there; Ctrl-C leaves nothing behind.

A chain is a series of increments. Without --chain it is called as the store is, so that stores do not disturb each other. Where the
guest has lost track of what has changed (it was off, a disk grew a new bitmap, its hypervisor keeps none), the disk is read once and
compared with the backup before: the store holds increments all the same.

A container is stored as a tar archive (GNU's, with zstd), or by --archive as ${containerForms.slice(1).join(', ')}, always as a whole. --exclude takes
patterns as rsync has them: /var/cache/* from the root on, *.o and core anywhere, tmp/ folders alone, ** across folders.

Hooks are commands for the shell, before and after: ${hookPhases.join(', ')}. They find STILLFS_PHASE,
STILLFS_GUESTS, STILLFS_GUEST, STILLFS_STORE, STILLFS_STORE_PATH, STILLFS_MOUNT, STILLFS_CHAIN, STILLFS_BACKUP, STILLFS_BACKUP_PATH,
STILLFS_ERROR in their environment. When job-start or backup-start fails, nothing is backed up.

The exit code is 0 when all guests were backed up, 1 when one was not, 3 when the only reason was that it was in use.

Examples:
  stillfs backup 100 101 --store /var/backups
  stillfs backup 100 --store nightly --chain nightly --bwlimit 80M --wait 600
  stillfs backup 100 --store /media/disk --full
  stillfs backup 201 --store nightly --exclude '/var/cache/apt/archives/*.deb' --exclude-mount /srv/media
  stillfs backup 100 --store nightly --hook 'backup-end=logger "$STILLFS_GUEST is in $STILLFS_BACKUP_PATH"'`;

/** `stillfs backup`: snapshots of a mount, stored for good. */
export function backupCommand(invocation: Invocation): Command {
  return new Command('backup')
    .description('back up running guests of a mount into a store')
    .argument('<GUEST...>', 'the guests, by their ids')
    .requiredOption('--store <name|dir>', 'where to: a store of the configuration, or a folder')
    .option('--mount <mountpoint>', 'where stillfs is mounted (default: the mount that shows the guest)')
    .addOption(
      new Option('--chain <name>', "the series of increments (default: the store's name)").argParser(
        chainName,
      ),
    )
    .addOption(new Option('--full', 'store whole disks, and touch no chain').conflicts('chain'))
    .addOption(
      new Option(
        '--disk <name>',
        'only this disk; may be repeated. The others are compared as a whole when they are next stored',
      ).argParser(collected),
    )
    .addOption(
      new Option('--archive <form>', 'how containers are stored (default: tar.zst)').choices(containerForms),
    )
    .addOption(
      new Option('--exclude <pattern>', 'files of containers that are left out; may be repeated').argParser(
        excludePatterns,
      ),
    )
    .addOption(
      new Option(
        '--exclude-mount <path>',
        'where other storage is mounted in a container: its folder is kept empty; may be repeated',
      ).argParser(mountPaths),
    )
    .addOption(
      new Option('--bwlimit <rate>', 'bytes that are read a second, with K, M or G: 80M').argParser(rate),
    )
    .addOption(new Option('--jobs <n>', 'so many guests at a time').argParser(wholeNumber(1)).default(1))
    .addOption(
      new Option('--hook <phase=command>', 'a command to be run; may be repeated').argParser(collected),
    )
    .addOption(waitOption('wait while a guest is in use: by another backup, or another snapshot'))
    .option('--json', 'print what happens as JSON, one event a line')
    .addOption(configOption())
    .addOption(logLevelOption())
    .addHelpText('after', backupHelp)
    .action(async (guests: string[], flags: BackupFlags) => {
      invocation.exitCode = await backup(guests, flags, invocation);
    });
}

async function backup(ids: readonly string[], flags: BackupFlags, invocation: Invocation): Promise<ExitCode> {
  const settings = await settingsOf(flags, invocation);
  const store = namedStore(flags.store ?? '', settings);
  const hooks = hooksOf(settings, flags.hook ?? []);
  const guests: { guest: string; mount: string }[] = [];
  for (const guest of new Set(ids)) {
    if (!plainName.test(guest)) throw new CommandError(ExitCode.usage, `"${guest}" is not ${plainNameRule}`);
    guests.push({ guest, mount: await mountOf(guest, flags.mount ?? settings.mountpoint) });
  }
  const report = reportFor(flags, settings);
  const stop = stopSignals();
  try {
    const job = {
      guests,
      store,
      chain: flags.full ? null : (flags.chain ?? store.name),
      ...(flags.disk && { disks: [...new Set(flags.disk)] }),
      container: containerWish(settings, flags),
      atOnce: flags.jobs,
      ...(flags.bwlimit !== undefined && { bytesPerSecond: flags.bwlimit }),
      waitSeconds: flags.wait,
      hooks,
      tool: `stillfs ${await version()}`,
    };
    const ending = runBackupJob(job, report, stop.asked);
    // Asked a second time: what is left then the next backup clears away.
    const results = await Promise.race([ending, failsWith(stop.forced)]);
    report.close();
    if (!flags.json) process.stdout.write(summary(results));
    return exitCodeFor(results);
  } finally {
    report.close();
    stop.release();
  }
}

/** What the configuration says of containers, and the command line beside it. */
function containerWish({ backup: configured }: Settings, flags: BackupFlags): ContainerWish {
  return {
    form: flags.archive ?? configured.archive ?? 'tar.zst',
    exclude: [...configured.exclude.map((text) => ExcludePattern.parse(text)), ...(flags.exclude ?? [])],
    excludeMounts: [...new Set([...configured.excludeMounts, ...(flags.excludeMount ?? [])])],
  };
}

function excludePatterns(text: string, previous: readonly ExcludePattern[] = []): ExcludePattern[] {
  try {
    return [...previous, ExcludePattern.parse(text)];
  } catch (error) {
    throw new InvalidArgumentError(messageOf(error));
  }
}

function mountPaths(text: string, previous: readonly string[] = []): string[] {
  const path = mountPath.safeParse(text);
  if (path.success) return [...previous, path.data];
  throw new InvalidArgumentError(mountPathRule);
}

function hooksOf({ backup: { hooks } }: Settings, said: readonly string[]): HookCommands {
  const all: Partial<Record<(typeof hookPhases)[number], string>> = { ...hooks };
  for (const text of said) {
    const equals = text.indexOf('=');
    const phase = hookPhases.find((each) => each === text.slice(0, equals));
    if (!phase || equals === text.length - 1)
      throw new ConfigError([
        `--hook ${text}: expected PHASE=COMMAND, PHASE one of ${hookPhases.join(', ')}`,
      ]);
    all[phase] = text.slice(equals + 1);
  }
  return all;
}

function reportFor({ json }: BackupFlags, { logLevel }: Settings): BackupReport {
  if (json) return jsonReport(process.stdout);
  return process.stderr.isTTY ? terminalReport(process.stderr) : logReport(openLog(logLevel));
}

function summary(results: readonly GuestResult[]): string {
  const rows = results.map(({ guest, backup: folder, description, seconds, error }) => {
    if (error !== undefined) return [guest, 'failed', '-', '-', secondsText(seconds), error];
    const disks = Object.values(description?.disks ?? {});
    const how = [...new Set(disks.map(({ mode }) => mode ?? '-'))].join(', ') || formOf(description);
    return [guest, folder ?? '-', how, bytesText(storedBytes(description)), secondsText(seconds), ''];
  });
  return columns([['GUEST', 'BACKUP', 'MODE', 'STORED', 'TOOK', ''], ...rows]);
}

/** How a container is stored, as `--archive` has it. */
function formOf(description: GuestResult['description']): string {
  return containerForms.find((form) => fileOfForm[form] === description?.archive?.file) ?? '-';
}

function exitCodeFor(results: readonly GuestResult[]): ExitCode {
  const failed = results.filter(({ error }) => error !== undefined);
  if (failed.length === 0) return ExitCode.fine;
  return failed.every(({ busy }) => busy) ? ExitCode.busy : ExitCode.failure;
}

function chainName(text: string): string {
  if (plainName.test(text)) return text;
  throw new InvalidArgumentError(`expected ${plainNameRule}`);
}
