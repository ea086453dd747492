import { Command } from 'commander';
import type { LogLevel } from '../config/schema.js';
import type { Settings } from '../config/settings.js';
import { openLog } from '../log.js';
import { type GuestVerdict, worst } from '../provider/verify/verdict.js';
import { runVerifyJob } from '../provider/verify/verify-job.js';
import { parseBackupAddress } from './backup-address.js';
import { ExitCode } from './exit-code.js';
import { configOption, type Invocation, logLevelOption, settingsOf, waitOption } from './invocation.js';
import { namedStore } from './named-store.js';
import {
  jsonVerifyReport,
  logVerifyReport,
  terminalVerifyReport,
  type VerifyReport,
  verdictText,
} from './report/verify-report.js';
import { failsWith, stopSignals } from './stop-signals.js';

interface VerifyFlags {
  readonly config?: string;
  readonly wait: number;
  readonly json?: boolean;
  readonly logLevel?: LogLevel;
}

const verifyHelp = `
STORE is a store of the configuration, or a folder; TIME is a backup's folder (20241113T095719Z), or "latest".

Everything is read and compared with its checksums: disks through all the backups that they are increments upon, archives and other
files by their bytes. Of a whole guest each stored byte is read once. What is damaged is told with its ranges, in bytes of the disk as the
guest sees it, and with the backup whose stored bytes are damaged; all that build on those clusters are damaged too.

What has no checksums (backups that other tools made) can't be verified, and is not called fine.

The exit code is 0 when all is fine, 1 when something is damaged or could not be read, 3 when the only reason was that a backup or a prune
is under way, 5 when nothing is damaged but not everything has checksums.

Examples:
  stillfs verify /var/backups
  stillfs verify nightly:100/latest
  stillfs verify nightly:100 --json --wait 600`;

/** `stillfs verify`: whether what is stored is what was stored. */
export function verifyCommand(invocation: Invocation): Command {
  return new Command('verify')
    .description('compare backups of a store with their checksums')
    .argument('<STORE[:GUEST[/TIME]]>', 'what to verify: a store, the backups of a guest, or one of them')
    .addOption(waitOption('wait while a backup or a prune of the guest goes on'))
    .option('--json', 'print what is found as JSON, one event a line')
    .addOption(configOption())
    .addOption(logLevelOption())
    .addHelpText('after', verifyHelp)
    .action(async (address: string, flags: VerifyFlags) => {
      invocation.exitCode = await verify(address, flags, invocation);
    });
}

async function verify(text: string, flags: VerifyFlags, invocation: Invocation): Promise<ExitCode> {
  const { store, guest, time } = parseBackupAddress(text, { least: 'store', most: 'time' });
  const settings = await settingsOf(flags, invocation);
  const { path } = namedStore(store, settings);
  const report = reportFor(flags, settings);
  const stop = stopSignals();
  try {
    const job = {
      path,
      ...(guest !== undefined && { guest }),
      ...(time !== undefined && { time }),
      waitSeconds: flags.wait,
    };
    const verdicts = await Promise.race([runVerifyJob(job, report, stop.asked), failsWith(stop.forced)]);
    for (const verdict of verdicts) report.guest(verdict);
    report.close();
    if (!flags.json) process.stdout.write(verdictText(verdicts));
    return exitCodeFor(verdicts);
  } finally {
    report.close();
    stop.release();
  }
}

function reportFor({ json }: VerifyFlags, { logLevel }: Settings): VerifyReport {
  if (json) return jsonVerifyReport(process.stdout);
  return process.stderr.isTTY ? terminalVerifyReport(process.stderr) : logVerifyReport(openLog(logLevel));
}

function exitCodeFor(verdicts: readonly GuestVerdict[]): ExitCode {
  const state = worst(verdicts.flatMap(({ backups }) => backups.map((backup) => backup.state)));
  const failed = verdicts.filter(({ error }) => error !== undefined);
  if (state === 'damaged' || failed.some(({ busy }) => !busy)) return ExitCode.failure;
  if (failed.length > 0) return ExitCode.busy;
  return state === 'unchecked' ? ExitCode.unchecked : ExitCode.fine;
}
