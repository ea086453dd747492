import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listeningUnixSocket } from '../../../../../src/posix/unix-socket.js';

/** A QEMU of a test's own, that ends with it. */
export interface RunningQemu {
  /** For sockets and more; goes too. */
  readonly folder: string;
  /** Its QMP monitor's socket. It can be connected to at once: QEMU answers when it is up. */
  readonly monitor: string;
  readonly over: Promise<void>;
  stop(): Promise<void>;
}

/** A virtual machine whose processors have not been started. */
export function startVirtualMachine(...args: string[]): Promise<RunningQemu> {
  const machine = ['-S', '-accel', 'tcg', '-nodefaults', '-display', 'none', ...args];
  return start('qemu-system-x86_64', [
    ...machine,
    '-chardev',
    monitorChardev,
    '-mon',
    'chardev=monitor,mode=control',
  ]);
}

/** QEMU's block layer and monitor without a machine. */
export function startStorageDaemon(...args: string[]): Promise<RunningQemu> {
  return start('qemu-storage-daemon', [...args, '--chardev', monitorChardev, '--monitor', 'chardev=monitor']);
}

const monitorChardev = 'socket,id=monitor,fd=3,server=on,wait=off';

async function start(program: string, args: readonly string[]): Promise<RunningQemu> {
  const folder = await mkdtemp(join(tmpdir(), 'stillfs-qemu-'));
  const monitor = join(folder, 'monitor');
  const listening = listeningUnixSocket(monitor);
  const child: ChildProcess = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit', listening] });
  closeSync(listening);
  const over = new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => resolve());
  });
  return {
    folder,
    monitor,
    over,
    stop: async () => {
      child.kill('SIGKILL');
      await over;
      await rm(folder, { recursive: true });
    },
  };
}
