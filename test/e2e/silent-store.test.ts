import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MountedStore } from './mounted-store.js';

const backup = 'qemu-1700000000';
const time = '20231114T221320Z';
const mostSilent = 40;

/** A store of guests from 100 on, with a raw disk each. */
async function fill(store: string, guests: number): Promise<void> {
  for (let guest = 0; guest < guests; guest++) {
    const folder = join(store, String(100 + guest), backup);
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'disk.raw'), `disk of ${100 + guest}`);
  }
}

/** Begins to look into a folder and does not wait for it. */
function look(path: string): { child: ChildProcess; ended: Promise<unknown> } {
  const child = spawn('ls', ['-l', path], { stdio: 'ignore' });
  return { child, ended: once(child, 'exit') };
}

describe('a store on a server that does not answer, beside one that does', () => {
  /** The server: its mount holds a store in a container's folder. Stopped, it answers nobody. */
  let server: MountedStore;
  let client: MountedStore;

  beforeAll(async () => {
    server = await MountedStore.make();
    await fill(join(server.store, '200', 'lxc-1700000000', 'rootfs'), mostSilent);
    await server.mount();
    client = await MountedStore.make();
    await fill(client.store, 2);
    await cp(client.store, join(client.folder, 'other'), { recursive: true });
    await client.mount('--store', `silent=${server.path('200', time, 'rootfs')}`);
    const first = join(client.mountpoint, 'backups', 'silent', '100', time, 'disks', 'disk.raw');
    expect(await readFile(first, 'utf8')).toBe('disk of 100');
    process.kill(server.pid, 'SIGSTOP');
  });
  afterAll(async () => {
    process.kill(server.pid, 'SIGCONT');
    await client.remove();
    await server.remove();
  });

  it('the other store is read as ever, whoever waits for the silent one', async () => {
    const silent = Array.from({ length: mostSilent - 1 }, (_, guest) =>
      look(join(client.mountpoint, 'backups', 'silent', String(101 + guest), time, 'disks')),
    );
    for (const guest of ['100', '101']) {
      expect(await readFile(client.path(guest, time, 'disks', 'disk.raw'), 'utf8')).toBe(`disk of ${guest}`);
    }
    expect(silent.filter(({ child }) => child.exitCode === null).length).toBeGreaterThan(0);
    for (const { child } of silent) child.kill('SIGKILL');
    await Promise.all(silent.map(({ ended }) => ended));
  });

  it('the daemon ends when it is asked to', async () => {
    expect(await client.end('SIGTERM')).toBe(0);
  });
});
