import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { builtCommand } from '../built-command.js';

const run = promisify(execFile);

/** A temporary folder and, while it is mounted, a stillfs process that serves the mount in it. */
export class ServedMount {
  readonly mountpoint: string;
  #process: ChildProcess | undefined;
  #log = '';

  constructor(readonly folder: string) {
    this.mountpoint = join(folder, 'mnt');
  }

  /** Runs `stillfs mount` with these options, and resolves when the command says that it has. */
  async serve(options: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<void> {
    const args = [builtCommand, 'mount', ...options, this.mountpoint];
    const stdio: ['ignore', 'pipe', 'pipe'] = ['ignore', 'pipe', 'pipe'];
    const child = spawn(process.execPath, args, { stdio, env: { ...process.env, ...env } });
    this.#process = child;
    child.stderr.on('data', (chunk: Buffer) => {
      this.#log += chunk.toString('utf8');
    });
    const said = new Promise<string>((resolve) => createInterface(child.stdout).once('line', resolve));
    const ended = once(child, 'exit').then(() => {
      throw new Error(`stillfs ended before it had mounted: ${this.#log}`);
    });
    const line = await Promise.race([said, ended]);
    if (line !== `mounted ${this.mountpoint}`) throw new Error(`stillfs said "${line}"`);
    ended.catch(() => undefined);
  }

  /** What stillfs has written to its log so far. */
  get log(): string {
    return this.#log;
  }

  get pid(): number {
    const pid = this.#process?.pid;
    if (pid === undefined) throw new Error('nothing is mounted');
    return pid;
  }

  /** Ends the process by a signal and gives its exit code. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    const child = this.#process;
    this.#process = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
    return child.exitCode;
  }

  async remove(): Promise<void> {
    await this.end();
    await run('umount', ['-l', this.mountpoint]).catch(() => undefined);
    // Node's own rm fails at paths longer than PATH_MAX.
    await run('rm', ['-rf', this.folder]);
  }
}

/** Runs a program and gives what it wrote. */
export async function output(program: string, ...args: string[]): Promise<string> {
  const { stdout } = await run(program, args, {
    maxBuffer: 64 * 1024 * 1024,
    env: { ...process.env, LC_ALL: 'C' },
  });
  return stdout;
}

export async function sha256(path: string): Promise<string> {
  return (await output('sha256sum', path)).slice(0, 64);
}
