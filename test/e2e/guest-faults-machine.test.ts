import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { copyFile, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FaultTable } from '../faults/fault-table.js';
import { KnownGuest } from '../faults/known-guest.js';
import { makeDisk } from '../machine/machine-disk.js';

const run = promisify(execFile);
const mebibyte = 1024 * 1024;
const table = new FaultTable();
let guest: KnownGuest;
const fault = (name: string, work: () => Promise<unknown>): void => {
  it(name, () => table.during(name, work, () => `${guest.mounted.log}${guest.machine.errors}`));
};

async function facts(): Promise<{ broken: string | null }> {
  return JSON.parse(await readFile(guest.mounted.path(guest.open, 'snapshot.json'), 'utf8'));
}

async function broken(): Promise<void> {
  await expect.poll(async () => (await facts()).broken, { timeout: 20_000 }).not.toBeNull();
}

/** Switches the guest off in order, by itself, and on again. */
async function restart(meanwhile: () => Promise<unknown> = async () => undefined): Promise<void> {
  await guest.machine.powerdown();
  await meanwhile();
  await guest.boot();
}

describe('something happens to the machine while there are chains', () => {
  beforeAll(async () => {
    guest = await KnownGuest.make([
      { id: 'a', bytes: 8 * mebibyte, iothread: true },
      { id: 'b', bytes: 8 * mebibyte, format: 'qcow2' },
    ]);
    await guest.mount();
  });
  afterAll(async () => {
    table.print('The machine; a raw disk with an I/O thread, and a qcow2 disk');
    await guest?.remove();
  });

  fault('the machine is started anew: raw disks lose their bitmaps, qcow2 disks do not', async () => {
    await guest.expectAllRight();
    await guest.write();
    await restart();
    guest.forgetBitmap('a');
    await guest.expectAllRight();
  });

  fault('QEMU stands still (SIGSTOP) as a snapshot is begun', async () => {
    await guest.mount(['takeTimeout=3']);
    process.kill(guest.machine.pid, 'SIGSTOP');
    try {
      await expect(guest.take()).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    } finally {
      process.kill(guest.machine.pid, 'SIGCONT');
    }
    await guest.runs();
    await guest.mount();
    await guest.expectAllRight();
  });

  fault('QEMU stands still (SIGSTOP) with half a snapshot in it', async () => {
    await guest.mount(['takeTimeout=6']);
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
    await guest.expectAllRight();
  });

  fault('QEMU stands still (SIGSTOP) during a read', async () => {
    await guest.take();
    const file = await open(guest.mounted.path(guest.open, 'disks', 'a.raw'));
    const expected = guest.contents('a').subarray(0, mebibyte).toString('latin1');
    process.kill(guest.machine.pid, 'SIGSTOP');
    const bytes = Buffer.alloc(mebibyte);
    const reading = file.read(bytes, 0, bytes.length, 0);
    try {
      expect(await readdir(guest.mounted.mountpoint)).toContain('guests');
      expect(await readdir(guest.mounted.path(guest.open))).toContain('disks');
      const shown = await readFile(join(guest.mounted.mountpoint, 'guests', '100', 'guest.json'), 'utf8');
      expect(JSON.parse(shown)).toMatchObject({ state: 'unknown' });
    } finally {
      process.kill(guest.machine.pid, 'SIGCONT');
    }
    expect((await reading).bytesRead).toBe(bytes.length);
    expect(bytes.toString('latin1')).toBe(expected);
    await file.close();
    await guest.say('success');
    await guest.end();
    await guest.expectAllRight();
  });

  fault('QEMU is killed during a read', async () => {
    await guest.take();
    await guest.write();
    const path = guest.mounted.path(guest.open, 'disks', 'b.raw');
    const reading = run('sh', ['-c', `while dd if='${path}' of=/dev/null bs=1M status=none; do :; done`]);
    await guest.machine.kill();
    const { stderr } = await reading;
    expect(stderr).toMatch(/Input\/output error/);
    await broken();
    expect(existsSync(guest.mounted.path(guest.open, 'PROBLEM.txt'))).toBe(true);
    await expect(guest.say('success')).rejects.toMatchObject({ code: 'EIO' });
    await guest.end();
    await expect(guest.take()).rejects.toMatchObject({ code: 'EHOSTUNREACH' });
    await guest.boot();
    guest.forgetBitmap('a', 'b');
    await guest.expectAllRight();
  });

  fault('the guest is switched off while a snapshot is open, and on after it was ended', async () => {
    await guest.take();
    await guest.write();
    await restart(() => guest.end());
    guest.forgetBitmap('a');
    await guest.write();
    await guest.expectAllRight();
  });

  fault('the guest is switched off and on while a snapshot is open', async () => {
    await guest.take();
    await guest.write();
    await restart();
    await guest.write();
    await broken();
    await guest.end();
    guest.forgetBitmap('a');
    await guest.expectAllRight();
  });

  fault('the guest is switched off after success was said, and on after the end', async () => {
    await guest.take();
    await guest.write();
    await guest.say('success');
    await guest.write();
    await restart(() => guest.end());
    guest.forgetBitmap('a');
    await guest.write();
    await guest.expectAllRight();
  });

  fault('the guest is switched off and on after success was said, and all are killed', async () => {
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
    await guest.expectAllRight();
  });

  fault('an old copy of a disk is put back', async () => {
    const copy = join(guest.mounted.folder, 'copy');
    let then = Buffer.alloc(0);
    await restart(async () => {
      await copyFile(guest.mounted.image('b'), copy);
      then = Buffer.from(guest.contents('b'));
    });
    guest.forgetBitmap('a');
    await guest.expectAllRight();
    await restart(() => copyFile(copy, guest.mounted.image('b')));
    await rm(copy);
    guest.replace('b', then);
    guest.forgetBitmap('a', 'b');
    await guest.expectAllRight();
  });

  fault('disks grow', async () => {
    for (const id of ['a', 'b']) {
      await guest.machine.qmp('block_resize', { 'node-name': `drive-${id}`, size: 9 * mebibyte });
      guest.know(id, 9 * mebibyte);
    }
    await guest.write();
    await guest.expectAllRight();
  });

  fault('a disk shrinks', async () => {
    await guest.machine.qmp('block_resize', { 'node-name': 'drive-a', size: 8 * mebibyte });
    guest.know('a', 8 * mebibyte);
    guest.forgetBitmap('a');
    await guest.expectAllRight();
  });

  fault('a disk is left out once', async () => {
    await guest.mount(['disks=a']);
    await guest.write();
    const { omitted } = await guest.take();
    expect(omitted.map(({ name }) => name)).toContain('b');
    await guest.write();
    await guest.say('success', 'a');
    await guest.end();
    await guest.mount();
    await guest.expectAllRight();
  });

  fault('a disk is plugged in', async () => {
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
    await guest.expectAllRight();
  });

  fault('a disk is unplugged during a snapshot', async () => {
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
    await guest.expectAllRight();
  });
});
