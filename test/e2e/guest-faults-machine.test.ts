import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, open, readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect } from 'vitest';
import { faultsOfGuest } from '../faults/faults-of-guest.js';
import type { KnownGuest } from '../faults/known-guest.js';
import { marked, writeMarked } from '../machine/known-writes.js';
import { makeDisk } from '../machine/machine-disk.js';
import { MountedGuest } from './mounted-guest.js';

const run = promisify(execFile);
const mebibyte = 1024 * 1024;

/** Switches the guest off in order, by itself, and on again. */
async function restart(
  guest: KnownGuest,
  meanwhile: () => Promise<unknown> = async () => undefined,
): Promise<void> {
  await guest.machine.powerdown();
  await meanwhile();
  await guest.boot();
}

describe('something happens to the machine while there are chains', () => {
  const fault = faultsOfGuest('The machine');

  fault('the machine is started anew: raw disks lose their bitmaps, qcow2 disks do not', async (guest) => {
    await guest.expectAllRight();
    await guest.write();
    await restart(guest);
    guest.forgetBitmap('a');
  });

  fault('QEMU stands still (SIGSTOP) as a snapshot is begun', async (guest) => {
    await guest.mount(['takeTimeout=2']);
    process.kill(guest.machine.pid, 'SIGSTOP');
    try {
      await expect(guest.take()).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    } finally {
      process.kill(guest.machine.pid, 'SIGCONT');
    }
    await guest.runs();
    await guest.mount();
  });

  fault(
    'QEMU stands still (SIGSTOP) with half a snapshot in it',
    async (guest) => {
      await guest.mount(['takeTimeout=4']);
      await writeFile(guest.killOrders, `stop:${guest.machine.pid} 20\n`);
      try {
        await expect(guest.take()).rejects.toMatchObject({ code: 'ETIMEDOUT' });
        await expect(guest.take()).rejects.toMatchObject({ code: 'EBUSY' });
      } finally {
        process.kill(guest.machine.pid, 'SIGCONT');
      }
      await guest.runs();
      await guest.expectNothingLeft();
      await guest.mount();
    },
    { rare: true },
  );

  fault('QEMU stands still (SIGSTOP) during a read, beside another guest and a store', async (guest) => {
    const other = await MountedGuest.make({
      agent: false,
      memoryMebibytes: 128,
      disks: [{ id: 'c', bytes: mebibyte }],
    });
    const store = join(guest.mounted.folder, 'store');
    const shown = (...parts: string[]): string => join(guest.mounted.mountpoint, ...parts);
    const snapshots = shown('guests', '200', 'snapshots');
    const seen = (name: string): Promise<Buffer> => readFile(join(snapshots, name, 'disks', 'c.raw'));
    try {
      await mkdir(join(store, '300', 'qemu-1700000000'), { recursive: true });
      await writeFile(join(store, '300', 'qemu-1700000000', 'd.raw'), 'stored');
      const second = `id=200,qmp=${other.machine.qmpPath},fleecing=${other.fleecing}`;
      await guest.mount([], ['--guest', second, '--store', `store=${store}`]);
      await guest.take();
      await mkdir(join(snapshots, 'before'));
      const file = await open(guest.mounted.path(guest.open, 'disks', 'a.raw'));
      const bytes = Buffer.alloc(mebibyte);
      const expected = Buffer.from(guest.contents('a').subarray(0, mebibyte));
      process.kill(guest.machine.pid, 'SIGSTOP');
      const reading = file.read(bytes, 0, bytes.length, 0);
      try {
        expect(await readdir(shown('guests', '100', 'snapshots', guest.open))).toContain('disks');
        const description = await readFile(shown('guests', '100', 'guest.json'), 'utf8');
        expect(JSON.parse(description)).toMatchObject({ state: 'unknown' });

        expect((await readdir(shown('guests'))).sort()).toEqual(['100', '200']);
        await writeMarked(other.machine, 'c', 0, mebibyte, 'beside');
        expect((await seen('before')).equals(Buffer.alloc(mebibyte))).toBe(true);
        await rmdir(join(snapshots, 'before'));
        await mkdir(join(snapshots, 'chain@after'));
        expect((await seen('chain@after')).equals(marked('beside', mebibyte))).toBe(true);
        await rmdir(join(snapshots, 'chain@after'));
        const [time = ''] = await readdir(shown('backups', 'store', '300'));
        expect(await readFile(shown('backups', 'store', '300', time, 'disks', 'd.raw'), 'utf8')).toBe(
          'stored',
        );
      } finally {
        process.kill(guest.machine.pid, 'SIGCONT');
      }
      expect((await reading).bytesRead).toBe(bytes.length);
      expect(bytes.equals(expected)).toBe(true);
      await file.close();
      await guest.say('success');
      await guest.end();
    } finally {
      await guest.mount();
      await other.remove();
    }
  });

  fault('QEMU is killed during a read', async (guest) => {
    await guest.take();
    await guest.write();
    const path = guest.mounted.path(guest.open, 'disks', 'b.raw');
    const reading = run('sh', ['-c', `while dd if='${path}' of=/dev/null bs=1M status=none; do :; done`]);
    await guest.machine.kill();
    const { stderr } = await reading;
    expect(stderr).toMatch(/Input\/output error/);
    await guest.brokenBy();
    expect(existsSync(guest.mounted.path(guest.open, 'PROBLEM.txt'))).toBe(true);
    await expect(guest.say('success')).rejects.toMatchObject({ code: 'EIO' });
    await guest.end();
    await expect(guest.take()).rejects.toMatchObject({ code: 'EHOSTUNREACH' });
    await guest.boot();
    guest.forgetBitmap('a', 'b');
  });

  fault('the guest is switched off while a snapshot is open, and on after it was ended', async (guest) => {
    await guest.take();
    await guest.write();
    await restart(guest, () => guest.end());
    guest.forgetBitmap('a');
    await guest.write();
  });

  fault(
    'the guest is switched off and on while a snapshot is open',
    async (guest) => {
      await guest.take();
      await guest.write();
      await restart(guest);
      await guest.write();
      await guest.brokenBy();
      await guest.end();
      guest.forgetBitmap('a');
    },
    { rare: true },
  );

  fault('the guest is switched off after success was said, and on after the end', async (guest) => {
    await guest.take();
    await guest.write();
    await guest.say('success');
    await guest.write();
    await restart(guest, () => guest.end());
    guest.forgetBitmap('a');
    await guest.write();
  });

  fault(
    'the guest is switched off and on after success was said, and all are killed',
    async (guest) => {
      await guest.take();
      await guest.write();
      await guest.say('success');
      const keepers = await guest.keepers();
      process.kill(guest.mounted.pid, 'SIGKILL');
      for (const keeper of keepers) process.kill(keeper, 'SIGKILL');
      // With nobody left to hold the sockets, QEMU 7.2 may abort here: then the bitmaps are lost with it.
      const { signal } = await guest.machine.powerdown();
      await guest.boot();
      await guest.mount();
      guest.forgetBitmap('a', ...(signal === null ? [] : ['b']));
    },
    { rare: true },
  );

  fault('an old copy of a disk is put back', async (guest) => {
    const copy = join(guest.mounted.folder, 'copy');
    let then = Buffer.alloc(0);
    await restart(guest, async () => {
      await copyFile(guest.mounted.image('b'), copy);
      then = Buffer.from(guest.contents('b'));
    });
    guest.forgetBitmap('a');
    await guest.expectAllRight();
    await restart(guest, () => copyFile(copy, guest.mounted.image('b')));
    await rm(copy);
    guest.replace('b', then);
    guest.forgetBitmap('a', 'b');
  });

  fault('disks grow', async (guest) => {
    for (const id of ['a', 'b']) {
      await guest.machine.qmp('block_resize', { 'node-name': `drive-${id}`, size: 5 * mebibyte });
      guest.know(id, 5 * mebibyte);
    }
    await guest.write();
  });

  fault('a disk shrinks', async (guest) => {
    await guest.machine.qmp('block_resize', { 'node-name': 'drive-a', size: 4 * mebibyte });
    guest.know('a', 4 * mebibyte);
    guest.forgetBitmap('a');
  });

  fault('a disk is left out once', async (guest) => {
    await guest.mount(['disks=a']);
    await guest.write();
    const { omitted } = await guest.take();
    expect(omitted.map(({ name }) => name)).toContain('b');
    await guest.write();
    await guest.say('success', 'a');
    await guest.end();
    await guest.mount();
  });

  fault('a disk is plugged in', async (guest) => {
    const filename = guest.mounted.image('c');
    await makeDisk(filename, 4 * mebibyte, { format: 'qcow2' });
    const file = { driver: 'file', filename };
    await guest.machine.qmp('blockdev-add', { driver: 'qcow2', 'node-name': 'drive-c', file });
    await guest.machine.qmp('device_add', {
      driver: 'virtio-blk-pci',
      drive: 'drive-c',
      id: 'c',
      serial: 'c',
    });
    // After vda and vdb.
    await guest.machine.output('until [ -b /dev/vdc ]; do usleep 20000; done; ln -s /dev/vdc /dev/disk/c');
    guest.know('c', 4 * mebibyte);
    await guest.write();
    await guest.expectAllRight();
  });

  fault('a disk is unplugged during a snapshot', async (guest) => {
    await guest.take();
    await guest.write();
    const at = await readFile(guest.mounted.path(guest.open, 'disks', 'c.raw'));
    const unplugged = guest.machine.monitor.next('DEVICE_DELETED', ({ device }) => device === 'c');
    await guest.machine.qmp('device_del', { id: 'c' });
    await unplugged;
    expect((await readFile(guest.mounted.path(guest.open, 'disks', 'c.raw'))).equals(at)).toBe(true);
    guest.forget('c');
    await guest.end();
    await guest.expectNothingLeft();
    await guest.machine.qmp('blockdev-del', { 'node-name': 'drive-c' });
  });
});
