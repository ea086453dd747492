import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { builtCommand } from '../built-command.js';
import { output } from './served-mount.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillfs-lost-log-'));
  await mkdir(join(folder, 'store/100/qemu-1700000000'), { recursive: true });
  await writeFile(join(folder, 'store/100/qemu-1700000000/bad.qcow2'), 'no image');
  await mkdir(join(folder, 'mnt'));
});
afterEach(async () => {
  await output('umount', '-l', join(folder, 'mnt')).catch(() => undefined);
  await rm(folder, { recursive: true });
});

test('a mount whose log nobody reads any more goes on, and ends when it is asked to', async () => {
  const mountpoint = join(folder, 'mnt');
  const args = [builtCommand, 'mount', '--store', join(folder, 'store'), mountpoint];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  await once(child.stdout, 'data');
  child.stderr.destroy();
  // That is a line of the log.
  await expect(stat(join(mountpoint, 'backups/store/100/latest/disks/bad.raw'))).rejects.toMatchObject({
    code: 'EIO',
  });
  expect(await readdir(mountpoint)).toEqual(['backups']);
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  expect(await ended).toEqual([0, null]);
});
