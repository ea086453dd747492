import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { access, mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Disk } from '../../../../src/disks/disk.js';
import { type Extent, joined } from '../../../../src/extents.js';

export const run = promisify(execFile);

/** Servers of other people and their files, gone at the end. */
export class NbdPrograms {
  readonly folder: string;
  readonly #children: ChildProcess[] = [];

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async begin(): Promise<NbdPrograms> {
    return new NbdPrograms(await mkdtemp(join(tmpdir(), 'stillfs-nbd-')));
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Starts a program that serves at `socket`, and waits until it does. */
  async serve(socket: string, program: string, ...args: string[]): Promise<ChildProcess> {
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'], cwd: this.folder });
    this.#children.push(child);
    let words = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      words += chunk.toString();
    });
    child.on('error', (error) => {
      words += error.message;
    });
    while (!(await accepts(socket))) {
      if (child.exitCode !== null || child.pid === undefined) throw new Error(`${program} ended: ${words}`);
      await wait(10);
    }
    return child;
  }

  /** `qemu-storage-daemon` with a node called `disk`, exported under that name. Says where. */
  async daemon(blockdevs: readonly string[], exported = '', qmp?: string): Promise<string> {
    const socket = this.path(`qsd-${this.#children.length}`);
    await this.serve(
      socket,
      'qemu-storage-daemon',
      ...blockdevs.flatMap((node) => ['--blockdev', node]),
      ...['--nbd-server', `addr.type=unix,addr.path=${socket}`],
      ...(exported === 'later' ? [] : ['--export', `type=nbd,id=e,node-name=disk,name=disk${exported}`]),
      ...(qmp
        ? ['--chardev', `socket,id=qmp,path=${qmp},server=on,wait=off`, '--monitor', 'chardev=qmp']
        : []),
    );
    return socket;
  }

  /** `nbdkit` on a socket of its own. Says where. */
  async nbdkit(...args: string[]): Promise<string> {
    const socket = this.path(`nbdkit-${this.#children.length}`);
    await this.serve(socket, 'nbdkit', '-f', '-U', socket, ...args);
    return socket;
  }

  async end(): Promise<void> {
    await Promise.all(
      this.#children.map(async (child) => {
        if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
        const gone = new Promise((resolve) => child.once('exit', resolve));
        child.kill('SIGTERM');
        const late = setTimeout(() => child.kill('SIGKILL'), 2000);
        await gone;
        clearTimeout(late);
      }),
    );
    await rm(this.folder, { recursive: true });
  }
}

async function accepts(path: string): Promise<boolean> {
  const exists = await access(path).then(
    () => true,
    () => false,
  );
  if (!exists) return false;
  return new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

/** Says QMP commands, one after the other. */
export async function say(path: string, ...commands: readonly object[]): Promise<void> {
  const socket = connect(path);
  let text = '';
  let wake: (() => void) | undefined;
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString();
    wake?.();
  });
  const line = async (): Promise<Record<string, unknown>> => {
    while (!text.includes('\n')) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    const end = text.indexOf('\n');
    const read: Record<string, unknown> = JSON.parse(text.slice(0, end));
    text = text.slice(end + 1);
    return read;
  };
  await line();
  for (const command of [{ execute: 'qmp_capabilities' }, ...commands]) {
    socket.write(JSON.stringify(command));
    let answer = await line();
    while ('event' in answer) answer = await line();
    if ('error' in answer) throw new Error(`${JSON.stringify(command)}: ${JSON.stringify(answer)}`);
  }
  socket.destroy();
}

/** A row of `nbdinfo --map --json`. */
export interface MapRow {
  readonly offset: number;
  readonly length: number;
  readonly type: number;
}

export async function nbdMap(socket: string, exportName: string, context: string): Promise<MapRow[]> {
  const uri = `nbd+unix:///${exportName}?socket=${socket}`;
  const { stdout } = await run('nbdinfo', ['--json', `--map=${context}`, uri]);
  return JSON.parse(stdout);
}

export async function everyExtent(disk: Disk): Promise<Extent[]> {
  const all: Extent[] = [];
  for (let at = 0; at < disk.size; ) {
    const some = await disk.extents(at, disk.size - at);
    all.push(...some);
    at = some.reduce((end, extent) => end + extent.length, at);
  }
  return joined(all);
}
