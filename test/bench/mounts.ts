import { spawn } from 'node:child_process';
import { access, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { execa } from 'execa';
import { builtCommand } from '../built-command.js';

/** A running peer or stillfs. */
export interface Running {
  /** The file or folder to read. */
  readonly path: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/** Starts a program and waits until `ready` says so. */
export async function start(
  program: string,
  args: readonly string[],
  path: string,
  ready: () => Promise<boolean>,
): Promise<Running> {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()));
  for (let tries = 0; !(await ready()); tries++) {
    if (child.exitCode !== null || tries > 12_000)
      throw new Error(`${program} ${args.join(' ')} did not get ready`);
    await wait(10);
  }
  return {
    path,
    pid: child.pid ?? 0,
    stop: async () => {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

export const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/** Mounts a store with stillfs. `path` is the mountpoint. */
export async function stillfs(store: string, mountpoint: string, ...options: string[]): Promise<Running> {
  await mkdir(mountpoint, { recursive: true });
  const args = [builtCommand, 'mount', ...options, '--store', `store=${store}`, mountpoint];
  return start(process.execPath, args, mountpoint, () => exists(join(mountpoint, 'backups')));
}

/** qemu-nbd serves the image on a Unix socket, nbdfuse shows it as a file. */
export async function nbdfuse(image: string, format: string, folder: string): Promise<Running> {
  await mkdir(folder, { recursive: true });
  const socket = join(folder, '..', `${format}.nbd.sock`);
  const server = await start(
    'qemu-nbd',
    ['-r', '-t', '-e', '8', '-f', format, '-k', socket, image],
    socket,
    () => exists(socket),
  );
  const file = join(folder, 'nbd');
  const running = await start('nbdfuse', ['-r', folder, '--unix', socket], file, () => exists(file));
  return {
    ...running,
    stop: async () => {
      await execa('fusermount3', ['-u', folder]);
      await running.stop();
      await server.stop();
    },
  };
}

/** qemu-storage-daemon's own FUSE export. */
export async function storageDaemonFuse(image: string, format: string, file: string): Promise<Running> {
  await execa('truncate', ['-s', '0', file]);
  return start(
    'qemu-storage-daemon',
    [
      ...['--blockdev', `driver=file,node-name=file,filename=${image},read-only=on`],
      ...['--blockdev', `driver=${format},node-name=disk,file=file,read-only=on`],
      ...['--export', `type=fuse,id=e,node-name=disk,mountpoint=${file},writable=off`],
    ],
    file,
    async () => (await execa('stat', ['-c', '%s', file])).stdout !== '0',
  );
}

/** The most memory that a process ever had resident, in MiB. */
export async function peakMemory(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? Number.NaN) / 1024;
}
