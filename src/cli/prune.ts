import { Command, Option } from 'commander';
import { ConfigError } from '../config/file.js';
import type { LogLevel } from '../config/schema.js';
import type { Settings } from '../config/settings.js';
import { openLog } from '../log.js';
import { type KeepPeriod, type KeepRules, keepPeriods } from '../provider/prune/keep-rules.js';
import { type PruneResult, runPruneJob } from '../provider/prune/prune-job.js';
import { parseBackupAddress } from './backup-address.js';
import { ExitCode } from './exit-code.js';
import { configOption, type Invocation, logLevelOption, settingsOf, waitOption } from './invocation.js';
import { namedStore } from './named-store.js';
import { wholeNumber } from './option-values.js';
import {
  jsonPruneReport,
  logPruneReport,
  type PruneReport,
  pruneText,
  terminalPruneReport,
} from './report/prune-report.js';
import { failsWith, stopSignals } from './stop-signals.js';

type KeepFlags = { readonly [Period in KeepPeriod as `keep${Capitalize<Period>}`]?: number };

interface PruneFlags extends KeepFlags {
  readonly config?: string;
  readonly keepAll?: boolean;
  readonly dryRun?: boolean;
  readonly wait: number;
  readonly json?: boolean;
  readonly logLevel?: LogLevel;
}

const whatIsKept: Readonly<Record<KeepPeriod, string>> = {
  last: 'the last N backups',
  hourly: 'the last backup of each of N hours',
  daily: 'the last backup of each of N days',
  weekly: 'the last backup of each of N weeks, from Monday on',
  monthly: 'the last backup of each of N months',
  yearly: 'the last backup of each of N years',
};

const pruneHelp = `
The rules are those of Proxmox VE's prune-backups: they have their turns in the order above, each goes from the newest backup to the oldest,
and a period for which a rule before it keeps a backup does not count. Only periods with backups count. Hours, days and weeks are those of
UTC. Each guest is pruned by itself.

A protected backup (stillfs protect) stays, and takes up no place in the rules. A backup that others build on is first merged into them: their
new images are written beside, compared with their checksums, and only then take the places of the old ones. What can't be merged
stays, with what it builds on. Whatever interrupts it, every backup that is kept reads as before, and the next prune or backup
finishes or clears away what was begun.

The exit code is 0 when all is done, 1 when something could not be removed, 3 when the only reason was that the guest's backups are in use.

Examples:
  stillfs prune /var/backups --keep-last 3 --keep-daily 7 --keep-weekly 4 --dry-run
  stillfs prune nightly:100 --keep-last 1
  stillfs prune nightly --keep-daily 14 --keep-monthly 12 --wait 600`;

/** `stillfs prune`: removes backups by rules. */
export function pruneCommand(invocation: Invocation): Command {
  const command = new Command('prune')
    .description('remove old backups of a store by rules')
    .argument('<STORE[:GUEST]>', 'a store of the configuration, or a folder; all its guests, or one');
  for (const period of keepPeriods)
    command.addOption(
      new Option(`--keep-${period} <n>`, `keep ${whatIsKept[period]}`)
        .argParser(wholeNumber(0))
        .conflicts('keepAll'),
    );
  return command
    .option('--keep-all', 'keep all; only what was interrupted is finished')
    .option('--dry-run', 'say what would be done, and do nothing')
    .addOption(waitOption())
    .option('--json', 'print what happens as JSON, one event a line')
    .addOption(configOption())
    .addOption(logLevelOption())
    .addHelpText('after', pruneHelp)
    .action(async (address: string, flags: PruneFlags) => {
      invocation.exitCode = await prune(address, flags, invocation);
    });
}

async function prune(text: string, flags: PruneFlags, invocation: Invocation): Promise<ExitCode> {
  const { store, guest } = parseBackupAddress(text, { least: 'store', most: 'guest' });
  const rules = rulesOf(flags);
  const settings = await settingsOf(flags, invocation);
  const { path } = namedStore(store, settings);
  const dryRun = flags.dryRun ?? false;
  const report = reportFor(flags, settings);
  const stop = stopSignals();
  try {
    const job = { path, ...(guest !== undefined && { guest }), rules, dryRun, waitSeconds: flags.wait };
    // Asked a second time: what is left then the next prune or backup settles.
    const results = await Promise.race([runPruneJob(job, report, stop.asked), failsWith(stop.forced)]);
    report.close();
    if (!flags.json) process.stdout.write(pruneText(results, dryRun));
    return exitCodeFor(results);
  } finally {
    report.close();
    stop.release();
  }
}

function rulesOf(flags: PruneFlags): KeepRules {
  const { keepAll: all, keepLast: last, keepHourly: hourly, keepDaily: daily } = flags;
  const { keepWeekly: weekly, keepMonthly: monthly, keepYearly: yearly } = flags;
  const said = Object.entries({ all, last, hourly, daily, weekly, monthly, yearly }).filter(
    ([, value]) => value !== undefined,
  );
  if (said.length > 0) return Object.fromEntries(said);
  const options = keepPeriods.map((period) => `--keep-${period} N`);
  throw new ConfigError([`what is to be kept? give at least one of ${options.join(', ')}, --keep-all`]);
}

function reportFor({ json }: PruneFlags, { logLevel }: Settings): PruneReport {
  if (json) return jsonPruneReport(process.stdout);
  return process.stderr.isTTY ? terminalPruneReport(process.stderr) : logPruneReport(openLog(logLevel));
}

function exitCodeFor(results: readonly PruneResult[]): ExitCode {
  const isLeft = ({ backups }: PruneResult): boolean => backups.some(({ reason }) => reason !== undefined);
  const failed = results.filter((result) => result.error !== undefined || isLeft(result));
  if (failed.length === 0) return ExitCode.fine;
  return failed.every(({ busy }) => busy) ? ExitCode.busy : ExitCode.failure;
}
