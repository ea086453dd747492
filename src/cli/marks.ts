import { Command } from 'commander';
import { settingsFrom } from '../config/settings.js';
import { hasCode, messageOf } from '../errors.js';
import { markBackup, marksOf, type NamedBackup, type NewMarks } from '../provider/marks/mark-backup.js';
import { openStoreFolder } from '../provider/stored/stored-guests.js';
import { parseBackupAddress } from './backup-address.js';
import { CommandError, ExitCode } from './exit-code.js';
import { configOption, type Invocation, waitOption } from './invocation.js';
import { namedStore } from './named-store.js';
import { printable } from './printable.js';
import { stopSignals } from './stop-signals.js';

interface MarkFlags {
  readonly config?: string;
  readonly wait: number;
}

const { signal: never } = new AbortController();

/** `stillfs protect`: a backup that is not pruned. */
export function protectCommand(invocation: Invocation): Command {
  return markCommand('protect', 'keep a backup, whatever the rules of a prune say')
    .addHelpText(
      'after',
      `
A protected backup stays until \`stillfs unprotect\`, and takes up no place in the rules of \`stillfs prune\`. What it builds on may be pruned: it is
merged into it. stillfs list shows it.

Examples:
  stillfs protect nightly:100/20241113T095719Z
  stillfs protect /var/backups:100/latest`,
    )
    .action(async (address: string, flags: MarkFlags) => {
      invocation.exitCode = await mark('protect', address, { isProtected: true }, flags);
    });
}

/** `stillfs unprotect`. */
export function unprotectCommand(invocation: Invocation): Command {
  return markCommand('unprotect', 'let the rules of a prune hold for a backup again').action(
    async (address: string, flags: MarkFlags) => {
      invocation.exitCode = await mark('unprotect', address, { isProtected: false }, flags);
    },
  );
}

/** `stillfs note`: a line or two about a backup. */
export function noteCommand(invocation: Invocation): Command {
  return markCommand('note', 'say something of a backup, or print what was said')
    .argument('[TEXT]', 'the note; "" removes it')
    .addHelpText(
      'after',
      `
Examples:
  stillfs note nightly:100/latest 'before the upgrade to 9.0'
  stillfs note nightly:100/20241113T095719Z           prints it
  stillfs note nightly:100/20241113T095719Z ''        removes it`,
    )
    .action(async (address: string, text: string | undefined, flags: MarkFlags) => {
      if (text !== undefined) {
        invocation.exitCode = await mark('note', address, { note: text }, flags);
        return;
      }
      const { note } = await withBackup(address, flags, (backup) => marksOf(backup, never));
      if (note !== undefined) process.stdout.write(`${note.split('\n').map(printable).join('\n')}\n`);
      invocation.exitCode = ExitCode.fine;
    });
}

function markCommand(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .argument(
      '<STORE:GUEST/TIME>',
      'the backup: of a store of the configuration, or a folder; TIME is its folder, or "latest"',
    )
    .addOption(waitOption())
    .addOption(configOption());
}

async function mark(command: string, address: string, marks: NewMarks, flags: MarkFlags): Promise<ExitCode> {
  const stop = stopSignals();
  try {
    await withBackup(address, flags, (backup) => {
      const lock = { purpose: `${command} of ${backup.guest}`, waitSeconds: flags.wait };
      return markBackup(backup, marks, lock, stop.asked);
    });
    return ExitCode.fine;
  } catch (error) {
    if (hasCode(error, 'EBUSY')) throw new CommandError(ExitCode.busy, messageOf(error));
    throw error;
  } finally {
    stop.release();
  }
}

async function withBackup<Result>(
  address: string,
  { config }: MarkFlags,
  use: (backup: NamedBackup) => Promise<Result>,
): Promise<Result> {
  const { store: name, guest = '', time = '' } = parseBackupAddress(address, { least: 'time', most: 'time' });
  const settings = await settingsFrom({ ...(config !== undefined && { config }) });
  const store = await openStoreFolder(namedStore(name, settings).path);
  try {
    return await use({ store, guest, time });
  } finally {
    store.close();
  }
}
