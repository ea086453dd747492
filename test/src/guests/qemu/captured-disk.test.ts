import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openNbdDisk } from '../../../../src/disks/nbd/nbd-disk.js';
import { CapturedDisk } from '../../../../src/guests/qemu/captured-disk.js';

const run = promisify(execFile);
const mebibyte = 2 ** 20;
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillfs-captured-'));
});
afterEach(() => rm(folder, { recursive: true }));

/** A disk of 4 MiB, exported by a QEMU whose reads fail while a file says so. */
async function withBadSectors(
  use: (disk: CapturedDisk, failures: unknown[], kill: () => Promise<void>) => Promise<void>,
) {
  const image = join(folder, 'disk');
  const socket = join(folder, 'socket');
  await run('qemu-img', ['create', '-q', '-f', 'raw', image, '4M']);
  const server = spawn('nbdkit', [
    ...['--foreground', '--unix', socket, '--filter=error', 'file', image],
    ...['error-pread=EIO', 'error-pread-rate=100%', `error-file=${join(folder, 'bad')}`],
  ]);
  const failures: unknown[] = [];
  try {
    const exported = await connected(socket);
    const facts = { name: 'vda', granuleBytes: 65_536, limited: false, baseSizeBytes: null };
    const disk = new CapturedDisk(exported, {
      ...facts,
      broken: () => undefined,
      failed: (error) => failures.push(error),
    });
    await use(disk, failures, async () => {
      server.kill('SIGKILL');
      await once(server, 'exit');
    });
    await disk.close();
  } finally {
    server.kill('SIGKILL');
  }
}

async function connected(path: string) {
  for (;;) {
    try {
      return await openNbdDisk({ address: { path }, exportName: '' });
    } catch (error) {
      if (!(error instanceof Error && /ENOENT|ECONNREFUSED/.test(`${error.cause ?? error}`))) throw error;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

test('a sector that the guest’s disk does not give is an error of that read, and the snapshot stays', async () => {
  await withBadSectors(async (disk, failures) => {
    await disk.read(0, Buffer.alloc(4096));
    await run('touch', [join(folder, 'bad')]);
    await expect(disk.read(mebibyte, Buffer.alloc(4096))).rejects.toMatchObject({ code: 'EIO' });
    await rm(join(folder, 'bad'));
    await disk.read(2 * mebibyte, Buffer.alloc(4096));
    expect(failures).toEqual([]);
  });
});

test('a QEMU that is gone breaks the snapshot', async () => {
  await withBadSectors(async (disk, failures, kill) => {
    await disk.read(0, Buffer.alloc(4096));
    await kill();
    await expect(disk.read(mebibyte, Buffer.alloc(4096))).rejects.toMatchObject({ code: 'EIO' });
    expect(failures.length).toBeGreaterThan(0);
  });
});
