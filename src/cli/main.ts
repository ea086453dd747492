import { Command, CommanderError } from 'commander';
import { hasCode, messageOf } from '../errors.js';
import { exitNow } from '../posix/exit.js';
import { ExitCode, exitCodeOf, exitCodesHelp } from './exit-code.js';
import type { Invocation } from './invocation.js';
import { mountHelperArguments } from './mount-helper.js';
import { printable } from './printable.js';
import { version } from './version.js';

const programHelp = `${exitCodesHelp}

Examples:
  stillfs mount --store /var/backups /mnt/backups
  stillfs list --store /var/backups
  stillfs snapshot take 100 nightly@monday
  stillfs backup 100 --store /var/backups
  stillfs restore /var/backups:100 --to /srv/restored
  stillfs verify /var/backups
  stillfs prune /var/backups --keep-daily 7 --keep-weekly 4
  stillfs help mount`;

type MakeCommand = (invocation: Invocation) => Command;

/** The commands in the order of the help; each is loaded when it is wanted, for all of them take several times as long to start. */
const commands: ReadonlyMap<string, () => Promise<MakeCommand>> = new Map([
  ['mount', async () => (await import('./mount.js')).mountCommand],
  ['umount', async () => (await import('./umount.js')).umountCommand],
  ['list', async () => (await import('./list.js')).listCommand],
  ['snapshot', async () => (await import('./snapshot.js')).snapshotCommand],
  ['chain', async () => (await import('./chain.js')).chainCommand],
  ['backup', async () => (await import('./backup.js')).backupCommand],
  ['restore', async () => (await import('./restore.js')).restoreCommand],
  ['verify', async () => (await import('./verify.js')).verifyCommand],
  ['prune', async () => (await import('./prune.js')).pruneCommand],
  ['protect', async () => (await import('./marks.js')).protectCommand],
  ['unprotect', async () => (await import('./marks.js')).unprotectCommand],
  ['note', async () => (await import('./marks.js')).noteCommand],
]);

/** Runs the program and ends the process. */
export async function main(argv: readonly string[]): Promise<never> {
  process.stdout.on('error', endOfReader);
  let ended = false;
  // What ends because nothing is left to wait for, before it has come to its end, is no success.
  process.once('exit', () => {
    if (!ended) process.exitCode = ExitCode.failure;
  });
  const exitCode = await run(argv);
  ended = true;
  // Those who clean up when a process exits have their turn; then nothing is waited for that may never answer.
  process.emit('exit', exitCode);
  exitNow(exitCode);
}

async function run(argv: readonly string[]): Promise<ExitCode> {
  const invocation: Invocation = { args: argv, exitCode: ExitCode.fine, debug: false };
  try {
    invocation.args = mountHelperArguments(argv, [...commands.keys(), 'help']) ?? argv;
    await (await program(invocation)).parseAsync([...invocation.args], { from: 'user' });
    return invocation.exitCode;
  } catch (error) {
    // What commander finds wrong it says itself.
    const isSaid = error instanceof CommanderError && error.code !== 'stillfs.mountHelper';
    if (!isSaid) process.stderr.write(told(error, invocation.debug));
    return exitCodeOf(error);
  }
}

async function program(invocation: Invocation): Promise<Command> {
  const program = new Command('stillfs')
    .description('Backups of virtual machines and containers, mounted as plain files')
    .version(await version())
    .exitOverride()
    .showSuggestionAfterError()
    .addHelpText('after', programHelp);
  const [first = ''] = invocation.args;
  const load = commands.get(first);
  const wanted = load ? [load] : first === '--version' ? [] : [...commands.values()];
  for (const make of await Promise.all(wanted.map((each) => each())))
    program.addCommand(make(invocation).copyInheritedSettings(program));
  return program;
}

/** An error for a person: `stillfs: ` and a sentence a line, and where it arose if they want to know. */
function told(error: unknown, debug: boolean): string {
  const lines = messageOf(error)
    .split('\n')
    .map((line) => `stillfs: ${printable(line)}\n`)
    .join('');
  return debug && error instanceof Error ? `${lines}${error.stack ?? ''}\n` : lines;
}

/** A reader that has seen enough (`stillfs list | head`) is no failure. */
function endOfReader(error: Error): void {
  if (hasCode(error, 'EPIPE')) exitNow(ExitCode.fine);
  throw error;
}
