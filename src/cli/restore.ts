import { resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { ConfigError } from '../config/file.js';
import { idMap, idMapSaid } from '../config/id-range.js';
import type { LogLevel } from '../config/schema.js';
import type { Settings } from '../config/settings.js';
import { hasCode, messageOf } from '../errors.js';
import type { IdMap } from '../id-map.js';
import { openLog } from '../log.js';
import { Bandwidth } from '../provider/job/bandwidth.js';
import type { ImageFormat } from '../provider/restore/disks/guest-disk.js';
import { type Restored, type RestoreWish, restoreGuest } from '../provider/restore/restore-guest.js';
import { parseBackupAddress } from './backup-address.js';
import { columns } from './columns.js';
import { CommandError, ExitCode } from './exit-code.js';
import { configOption, type Invocation, logLevelOption, settingsOf, waitOption } from './invocation.js';
import { namedStore } from './named-store.js';
import { rate } from './option-values.js';
import {
  jsonRestoreReport,
  logRestoreReport,
  type RestoreReport,
  terminalRestoreReport,
} from './report/restore-report.js';
import { failsWith, stopSignals } from './stop-signals.js';

type WantedDisk = NonNullable<RestoreWish['disks']>[number];

interface RestoreFlags {
  readonly config?: string;
  readonly to?: string;
  readonly disk?: readonly WantedDisk[];
  readonly format?: ImageFormat;
  readonly idMap?: IdMap;
  readonly overwrite?: boolean;
  readonly ignoreDamage?: boolean;
  readonly bwlimit?: number;
  readonly wait: number;
  readonly json?: boolean;
  readonly logLevel?: LogLevel;
}

const restoreHelp = `
No mount is needed: the store is read as it is, a disk through its whole chain. Every MiB is compared with its checksum before it is
written. Files come to be beside their places and are renamed when all of them are whole and on the disk; Ctrl-C leaves nothing behind.
Of a block device the first MiB is written last: a device that was not restored to its end does not look like one that was.

Existing files, and devices that hold something, are refused without --overwrite. A device in use is always refused.

DIR gets DISK.raw or DISK.qcow2 of each disk, a container's rootfs/, guest.conf, firewall.conf. A container's files have the owners that it sees;
--id-map makes them those of an unprivileged container.

TARGET is a block device, or a file: qcow2 where it ends with .qcow2, else raw. A raw file has holes where the disk has zeros.

The exit code is 0 when all is restored, 1 when it failed, or when damage was ignored, 3 when the guest's backups, or the device, are in use.

Examples:
  stillfs restore nightly:100 --to /srv/restored
  stillfs restore /var/backups:100/20241113T095719Z --disk vda=/dev/vg0/vm-100
  stillfs restore nightly:201 --to /var/lib/lxc/web --id-map 0:100000:65536
  stillfs restore nightly:100/latest --disk vda=/images/vda.qcow2 --disk vdb=/images/vdb.raw`;

/** `stillfs restore`: a backup of a store, given back whole. */
export function restoreCommand(invocation: Invocation): Command {
  return new Command('restore')
    .description("restore a backup: disks, a container's files, the configuration")
    .argument(
      '<STORE:GUEST[/TIME]>',
      'the backup: of a store of the configuration, or a folder; the latest if no TIME is said',
    )
    .option('--to <dir>', 'the folder that all is restored to which has no target of its own')
    .addOption(
      new Option('--disk <name[=target]>', 'only this disk, to TARGET if said; may be repeated').argParser(
        wantedDisk,
      ),
    )
    .addOption(
      new Option('--format <format>', 'of disks in files (default: as the name ends, else raw)').choices([
        'raw',
        'qcow2',
      ]),
    )
    .addOption(
      new Option(
        '--id-map <inside:outside:count>',
        "a container's ids: INSIDE becomes OUTSIDE; more with + between (default: as they are stored)",
      ).argParser(idMapOf),
    )
    .option('--overwrite', 'replace files that are there, and what is on devices')
    .option('--ignore-damage', "restore what there is of a damaged backup; what can't be read becomes zeros")
    .addOption(
      new Option('--bwlimit <rate>', 'bytes that are read a second, with K, M or G: 80M').argParser(rate),
    )
    .addOption(waitOption())
    .option('--json', 'print what happens as JSON, one event a line')
    .addOption(configOption())
    .addOption(logLevelOption())
    .addHelpText('after', restoreHelp)
    .action(async (address: string, flags: RestoreFlags) => {
      invocation.exitCode = await restore(address, flags, invocation);
    });
}

async function restore(text: string, flags: RestoreFlags, invocation: Invocation): Promise<ExitCode> {
  const settings = await settingsOf(flags, invocation);
  const { store, guest = '', time = 'latest' } = parseBackupAddress(text, { least: 'guest', most: 'time' });
  const homeless = flags.disk?.find(({ target }) => target === undefined);
  if (flags.to === undefined && (!flags.disk || homeless))
    throw new ConfigError(['where to? give --to DIR, or a target for each disk: --disk NAME=TARGET']);
  const report = reportFor(flags, settings);
  const stop = stopSignals();
  try {
    const { path, idMap: stored } = namedStore(store, settings);
    const wish: RestoreWish = {
      store: path,
      guest,
      time,
      ...(flags.to !== undefined && { folder: resolve(flags.to) }),
      ...(flags.disk && { disks: flags.disk }),
      ...(flags.format && { format: flags.format }),
      ids: { target: flags.idMap, stored },
      overwrite: flags.overwrite ?? false,
      ignoreDamage: flags.ignoreDamage ?? false,
      waitSeconds: flags.wait,
      bandwidth: new Bandwidth(flags.bwlimit),
      log: report.log,
      progress: (progress) => report.progress(progress),
    };
    const restoring = Promise.race([restoreGuest(wish, stop.asked), failsWith(stop.forced)]);
    const restored = await restoring.catch((error: unknown) => {
      report.close();
      report.failed(guest, error);
      throw error;
    });
    report.close();
    report.ended(guest, restored);
    if (!flags.json) process.stdout.write(summary(restored));
    if (restored.damage === 0) return ExitCode.fine;
    const places = restored.damage === 1 ? 'one place' : `${restored.damage} places`;
    throw new CommandError(
      ExitCode.failure,
      `${restored.backup} is restored, but it is damaged in ${places}`,
    );
  } catch (error) {
    if (error instanceof CommandError || !hasCode(error, 'EBUSY')) throw error;
    throw new CommandError(ExitCode.busy, messageOf(error), { cause: error });
  } finally {
    report.close();
    stop.release();
  }
}

function reportFor({ json }: RestoreFlags, { logLevel }: Settings): RestoreReport {
  if (json) return jsonRestoreReport(process.stdout);
  return process.stderr.isTTY ? terminalRestoreReport(process.stderr) : logRestoreReport(openLog(logLevel));
}

function summary({ backup, parts }: Restored): string {
  const rows = parts.map(({ part, path, verified }) => [backup, part, verified ? 'yes' : '-', path]);
  return columns([['BACKUP', 'PART', 'VERIFIED', 'RESTORED TO'], ...rows]);
}

/** `NAME`, or `NAME=TARGET`. */
function wantedDisk(text: string, before: readonly WantedDisk[] = []): readonly WantedDisk[] {
  const equals = text.indexOf('=');
  const name = equals === -1 ? text : text.slice(0, equals);
  const target = equals === -1 ? undefined : text.slice(equals + 1);
  if (name === '' || target === '') throw new InvalidArgumentError('expected NAME, or NAME=TARGET');
  if (before.some((each) => each.name === name))
    throw new InvalidArgumentError(`the disk ${name} is named twice`);
  return [...before, { name, ...(target !== undefined && { target: resolve(target) }) }];
}

function idMapOf(text: string): IdMap {
  const parsed = idMap.safeParse(idMapSaid(text));
  if (parsed.success) return parsed.data;
  throw new InvalidArgumentError('expected INSIDE:OUTSIDE:COUNT: 0:100000:65536');
}
