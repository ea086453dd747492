import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { marked } from '../machine/known-writes.js';
import { MountedGuest } from './mounted-guest.js';

const mebibyte = 2 ** 20;

it('a bad sector of a disk with an I/O thread is an error of who reads it: the snapshot and the guest live on', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'stillfs-bad-sector-'));
  const filename = join(folder, 'disk');
  await writeFile(filename, marked('data', 4 * mebibyte));
  const node = {
    driver: 'raw',
    'node-name': 'drive-bad',
    file: {
      driver: 'blkdebug',
      'inject-error': [{ event: 'read_aio', errno: 5, sector: (2 * mebibyte) / 512 }],
      image: { driver: 'file', filename },
    },
  };
  const guest = await MountedGuest.make({
    agent: false,
    memoryMebibytes: 128,
    disks: [],
    qemuArguments: [
      ...['-blockdev', JSON.stringify(node), '-object', 'iothread,id=thread'],
      ...['-device', 'virtio-blk,drive=drive-bad,id=bad,serial=bad,iothread=thread'],
    ],
  });
  try {
    await guest.mount();
    await guest.take('all');
    const disk = await open(guest.path('all', 'disks', 'bad.raw'));
    try {
      const bytes = Buffer.alloc(mebibyte);
      for (let time = 0; time < 3; time++) {
        await expect(disk.read(bytes, 0, 4096, 2 * mebibyte)).rejects.toMatchObject({ code: 'EIO' });
        expect((await disk.read(bytes, 0, mebibyte, mebibyte)).bytesRead).toBe(mebibyte);
      }
    } finally {
      await disk.close();
    }
    expect(await guest.facts('all')).toMatchObject({ outcome: 'pending', broken: null });
    await guest.finish('all');
    expect(await guest.machine.output('echo alive')).toBe('alive\n');
    expect(guest.machine.errors).toBe('');
  } finally {
    await guest.remove();
    await rm(folder, { recursive: true });
  }
});
