import { readdir, readFile } from 'node:fs/promises';
import { execa, type ResultPromise } from 'execa';
import { mountAt, mountTable } from '../../src/cli/mount-table.js';
import { builtCommand as command } from '../built-command.js';

export { builtCommand as command } from '../built-command.js';

const quiet = { reject: false, stdin: 'ignore' } as const;

/** What a run of a program left behind. */
export interface Run {
  readonly exitCode: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs stillfs to its end. */
export async function stillfs(...args: string[]): Promise<Run> {
  return run(process.execPath, [command, ...args]);
}

/** Runs any program to its end. */
export async function run(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Run> {
  const { exitCode, stdout, stderr } = await execa(program, args, { ...quiet, env: { LC_ALL: 'C', ...env } });
  return { exitCode, stdout, stderr };
}

type Child = ResultPromise<typeof quiet>;

/** A stillfs that serves a mount, and what it will have left behind. */
export interface Foreground {
  readonly child: Child;
  readonly end: Promise<Run>;
}

/** Starts `stillfs mount` in the foreground, and resolves when it has printed a line. */
export async function mountInForeground(...args: string[]): Promise<Foreground> {
  const child = execa(process.execPath, [command, 'mount', ...args], quiet);
  await said(child, 'stdout', /\n/);
  const end = child.then(({ exitCode, stdout, stderr }) => ({ exitCode, stdout, stderr }));
  return { child, end };
}

/** Resolves when a process has written what is looked for; rejects if it ends before. */
export async function said(child: Child, stream: 'stdout' | 'stderr', sought: RegExp): Promise<void> {
  let text = '';
  await new Promise<void>((resolve, reject) => {
    const heard = (chunk: Buffer): void => {
      text += chunk.toString('utf8');
      if (sought.test(text)) resolve();
    };
    child[stream].on('data', heard);
    child.then(
      ({ stdout, stderr }) => reject(new Error(`stillfs ended before it said ${sought}: ${stdout}${stderr}`)),
      reject,
    );
  });
}

export async function isMounted(mountpoint: string): Promise<boolean> {
  return mountAt(await mountTable(), mountpoint) !== undefined;
}

/** The processes that serve a mountpoint, by what they call themselves. */
export async function servers(mountpoint: string): Promise<number[]> {
  const found: number[] = [];
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const title = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (title.split('\0', 1)[0]?.trim() === `stillfs ${mountpoint}`) found.push(Number(pid));
  }
  return found;
}
