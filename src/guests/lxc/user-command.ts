import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { hasCode, StillError } from '../../errors.js';
import { joinSignals } from '../../joined-signal.js';
import type { UserCommand } from './settings.js';

/** Facts that a command finds in its environment. */
export interface CommandFacts {
  readonly STILLFS_GUEST: string;
  readonly STILLFS_SNAPSHOT: string;
  readonly STILLFS_ID: string;
  /** Of `drop`: what `take` gave, or nothing where it has not. */
  readonly STILLFS_FOLDER?: string;
  readonly STILLFS_OUTCOME?: string;
}

/** A process group, and when its first process began: its number alone may be another's by now. */
export interface RunningCommand {
  readonly group: number;
  readonly began: string;
}

const mostOutputBytes = 64 * 1024;
const lastWordsMilliseconds = 500;

export interface CommandRun {
  readonly what: string;
  readonly command: UserCommand;
  readonly facts: CommandFacts;
  readonly milliseconds: number;
  /** Called before the command begins: it does when this is back. */
  readonly started?: (running: RunningCommand) => Promise<void>;
}

/**
 * Runs a command of the user's and gives what it wrote to standard output. EIO: it failed, with what it wrote to standard
 * error; ETIMEDOUT. Then, and after an abort, nothing of it runs any more.
 */
export async function runUserCommand(run: CommandRun, signal: AbortSignal): Promise<string> {
  signal.throwIfAborted();
  const argv = typeof run.command === 'string' ? ['sh', '-c', run.command] : run.command;
  // It waits for a line: so it is written down which process it is before it does anything.
  const child = spawn('sh', ['-c', 'read -r line && exec "$@" </dev/null', 'sh', ...argv], {
    detached: true,
    cwd: '/',
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...run.facts },
  });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].on('data', (chunk: Buffer) => {
      output[name] = `${output[name]}${chunk.toString('utf8')}`.slice(-mostOutputBytes);
    });
  }
  // A command that was killed before it had begun reads nothing.
  child.stdin.on('error', () => undefined);
  const ended = new Promise<string | undefined>((resolve, reject) => {
    child.on('error', reject);
    const end = (code: number | null, by: string | null): void =>
      resolve(code === 0 ? undefined : (by ?? `exit code ${code}`));
    child.on('close', end);
    // Something that it leaves running in the background may keep its output open.
    child.on('exit', (code, by) => setTimeout(() => end(code, by), lastWordsMilliseconds).unref());
  });
  ended.catch(() => undefined);
  const kill = (): void => killGroup(child.pid);
  const late = new AbortController();
  const timer = setTimeout(
    () => late.abort(new StillError('ETIMEDOUT', `${run.what} took longer than ${run.milliseconds} ms`)),
    run.milliseconds,
  );
  const { signal: given, part } = joinSignals(signal, late.signal);
  given.addEventListener('abort', kill, { once: true });
  try {
    if (child.pid !== undefined)
      await run.started?.({ group: child.pid, began: (await beganAt(child.pid)) ?? '' });
    given.throwIfAborted();
    child.stdin.end('\n');
    const failure = await ended;
    given.throwIfAborted();
    if (failure === undefined) return output.stdout;
    const said = output.stderr.trim().split('\n').at(-1);
    throw new StillError('EIO', `${run.what} failed (${failure})${said ? `: ${said}` : ''}`);
  } catch (error) {
    kill();
    throw error;
  } finally {
    clearTimeout(timer);
    part();
    given.removeEventListener('abort', kill);
  }
}

/** Ends a command that an earlier daemon has left running. */
export async function killCommand({ group, began }: RunningCommand): Promise<void> {
  if ((await beganAt(group)) === began) killGroup(group);
}

function killGroup(group: number | undefined): void {
  if (group === undefined) return;
  try {
    process.kill(-group, 'SIGKILL');
  } catch (error) {
    if (!hasCode(error, 'ESRCH')) throw error;
  }
}

/** When a process began, in ticks since the system's start: field 22 of proc_pid_stat(5). */
async function beganAt(pid: number): Promise<string | undefined> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The second field is the program's name in parentheses, which may hold anything.
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19];
  } catch (error) {
    if (hasCode(error, 'ENOENT') || hasCode(error, 'ESRCH')) return undefined;
    throw error;
  }
}
