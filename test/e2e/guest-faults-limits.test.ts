import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, open, readFile, rename, rmdir, stat, writeFile } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FaultTable } from '../faults/fault-table.js';
import { granuleBytes, KnownGuest } from '../faults/known-guest.js';
import { marked } from '../machine/known-writes.js';
import { devicePath } from '../machine/machine.js';

const run = promisify(execFile);
const mebibyte = 1024 * 1024;
const table = new FaultTable();
let guest: KnownGuest;
const fault = (name: string, work: () => Promise<unknown>): void => {
  it(name, () => table.during(name, work, () => `${guest.mounted.log}${guest.machine.errors}`));
};

/** Reads the first block of a disk past the page cache. */
async function readFirst(guest: KnownGuest, disk = 'a'): Promise<void> {
  const file = await open(guest.mounted.path(guest.open, 'disks', `${disk}.raw`));
  try {
    await file.read(Buffer.alloc(4096), 0, 4096, 0);
  } finally {
    await file.close();
  }
}

async function facts(guest: KnownGuest): Promise<{ broken: string | null; outcome: string }> {
  return JSON.parse(await readFile(guest.mounted.path(guest.open, 'snapshot.json'), 'utf8'));
}

/** Waits until the snapshot that is open says why it is broken. */
async function brokenBy(guest: KnownGuest): Promise<string> {
  await expect.poll(async () => (await facts(guest)).broken, { timeout: 15_000 }).not.toBeNull();
  return (await facts(guest)).broken ?? '';
}

describe('a snapshot that can not go on, or can not begin', () => {
  beforeAll(async () => {
    guest = await KnownGuest.make([
      { id: 'a', bytes: 8 * mebibyte, iothread: true },
      { id: 'b', bytes: 8 * mebibyte, format: 'qcow2' },
    ]);
    await guest.mount();
  });
  afterAll(async () => {
    table.print('Limits, other programs, and users; a raw disk with an I/O thread, and a qcow2 disk');
    await guest?.remove();
  });

  fault('nothing happens', () => guest.expectAllRight());

  fault('a foreign NBD server runs in QEMU', async () => {
    const path = join(guest.mounted.folder, 'foreign');
    const addr = { type: 'unix', data: { path } };
    await guest.machine.qmp('nbd-server-start', { addr });
    await expect(guest.take()).rejects.toMatchObject({ code: 'EBUSY' });
    const socket = connect(path);
    const [greeting] = await once(socket, 'data');
    expect(String(greeting).slice(0, 8)).toBe('NBDMAGIC');
    const closed = once(socket, 'close');
    socket.destroy();
    await closed;
    await guest.machine.qmp('query-status');
    await guest.machine.qmp('nbd-server-stop');
    await guest.expectAllRight();
  });

  fault('another program has the monitor', async () => {
    const socket = connect(guest.machine.qmpPath);
    await once(socket, 'data');
    await expect(guest.take()).rejects.toMatchObject({ code: 'EBUSY' });
    socket.destroy();
    await guest.expectAllRight();
  });

  fault('two take a snapshot at once', async () => {
    const names = [guest.nextName(), guest.nextName()];
    const tried = await Promise.allSettled(names.map((name) => mkdir(guest.mounted.path(name))));
    const refused = tried.filter((one) => one.status === 'rejected');
    expect(refused.map(({ reason }) => reason.code)).toEqual(['EBUSY']);
    const taken = names[tried.findIndex((one) => one.status === 'fulfilled')] ?? '';
    await rmdir(guest.mounted.path(taken));
    await guest.expectAllRight();
  });

  fault('mkdir is interrupted (SIGINT)', async () => {
    for (const delay of [60, 250, 400, 600]) {
      const path = guest.mounted.path(guest.nextName());
      const made = spawn('mkdir', [path], { stdio: 'ignore' });
      const ended = once(made, 'exit');
      const timer = setTimeout(() => made.kill('SIGINT'), delay);
      const [code] = await ended;
      clearTimeout(timer);
      await guest.write();
      // The signal may come when all is done: then the folder is there, whatever became of mkdir.
      const isThere = await stat(path).then(
        () => true,
        () => false,
      );
      if (delay === 60) expect([code, isThere]).toEqual([null, false]);
      else if (isThere) await rmdir(path);
    }
    await guest.expectAllRight();
  });

  fault('rmdir with open files', async () => {
    await guest.take();
    const file = await open(guest.mounted.path(guest.open, 'disks', 'a.raw'));
    try {
      await file.read(Buffer.alloc(4096), 0, 4096, 0);
      await guest.write();
      await guest.end();
      await expect(file.read(Buffer.alloc(4096), 0, 4096, 0)).rejects.toMatchObject({ code: 'EIO' });
    } finally {
      await file.close();
    }
    await guest.expectAllRight();
  });

  fault('unmounted with an open snapshot (SIGTERM)', async () => {
    await guest.take();
    await guest.write();
    expect(await guest.mounted.end('SIGTERM')).toBe(0);
    await guest.write();
    await guest.expectNothingLeft();
    await guest.mount();
    await guest.expectAllRight();
  });

  fault('the guest was paused by its administrator', async () => {
    await guest.machine.pause();
    const taken = await guest.take();
    expect(taken.frozenFileSystems).toBeNull();
    expect(await guest.machine.qmp('query-status')).toMatchObject({ status: 'paused' });
    await guest.say('success');
    await guest.end();
    expect(await guest.machine.qmp('query-status')).toMatchObject({ status: 'paused' });
    await guest.machine.qmp('cont');
    await guest.expectAllRight();
  });

  fault('the guest is paused while a snapshot is open', async () => {
    await guest.take();
    await guest.write();
    await guest.machine.pause();
    await guest.end();
    expect(await guest.machine.qmp('query-status')).toMatchObject({ status: 'paused' });
    await guest.machine.qmp('cont');
    await guest.expectAllRight();
  });

  fault('a paused guest, and all are killed while it is taken', async () => {
    await guest.machine.pause();
    await writeFile(guest.killOrders, 'both 18\n');
    await expect(guest.take()).rejects.toThrow();
    await guest.mount();
    await expect.poll(() => guest.mounted.leftInQemu(), { timeout: 15_000 }).toEqual([]);
    expect(await guest.machine.qmp('query-status')).toMatchObject({ status: 'paused' });
    // Of a guest that stands still QEMU closes no descriptors that were passed.
    await guest.machine.qmp('cont');
    await guest.expectAllRight();
  });

  fault('an agent that never answers', async () => {
    const server: Server = createServer((socket) => socket.resume());
    const path = join(guest.mounted.folder, 'dead-agent');
    await new Promise<void>((resolve) => server.listen(path, resolve));
    await guest.mount([`agent=${path}`, 'takeTimeout=20']);
    try {
      await expect(guest.take()).rejects.toMatchObject({ code: 'ETIMEDOUT' });
      await guest.runs();
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
    await guest.mount();
    await guest.expectAllRight();
  });

  fault('an agent that stops in the middle (SIGSTOP)', async () => {
    await guest.machine.output('kill -STOP $(pidof qemu-ga)');
    await guest.mount(['takeTimeout=20']);
    await expect(guest.take()).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    await guest.runs();
    await guest.machine.output('kill -CONT $(pidof qemu-ga)');
    await guest.mount();
    await guest.expectAllRight();
  });

  fault("the monitor's socket is removed while a snapshot is open", async () => {
    await guest.take();
    await guest.write();
    const aside = `${guest.machine.qmpPath}.aside`;
    await rename(guest.machine.qmpPath, aside);
    await expect(guest.end()).rejects.toMatchObject({ code: 'EIO' });
    await guest.runs();
    await expect(guest.take()).rejects.toMatchObject({ code: 'EBUSY' });
    await rename(aside, guest.machine.qmpPath);
    await guest.expectNothingLeft();
    await guest.expectAllRight();
  });

  fault('it is open for too long (maxAge)', async () => {
    await guest.mount(['maxAge=1']);
    await guest.take();
    await guest.write();
    expect(await brokenBy(guest)).toMatch(/longer than 1 s/);
    await expect(readFirst(guest)).rejects.toMatchObject({ code: 'EIO' });
    await expect(guest.say('success')).rejects.toMatchObject({ code: 'EIO' });
    expect(existsSync(guest.mounted.path(guest.open, 'PROBLEM.txt'))).toBe(true);
    await guest.end();
    await guest.mount();
    await guest.expectAllRight();
  });

  fault('it is open for too long after success was said', async () => {
    await guest.mount(['maxAge=2']);
    await guest.take();
    await guest.write();
    await guest.say('success');
    await brokenBy(guest);
    await guest.end();
    await guest.mount();
    await guest.expectAllRight();
  });

  fault('fleecing takes more than its limit', async () => {
    await guest.mount(['fleecingLimit=1M']);
    await guest.take();
    await guest.machine.output(
      `yes big | head -c ${3 * mebibyte} | dd of=${devicePath('a')} bs=${mebibyte} iflag=fullblock oflag=direct conv=notrunc,fsync status=none`,
    );
    guest.wrote('a', 0, marked('big', 3 * mebibyte));
    expect(await brokenBy(guest)).toMatch(/more than the limit/);
    await expect(guest.say('success')).rejects.toMatchObject({ code: 'EIO' });
    await guest.end();
    await guest.mount();
    await guest.expectAllRight();
  });

  fault('the fleecing folder is full', async () => {
    const small = join(guest.mounted.folder, 'small');
    await mkdir(small);
    await run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', small]);
    try {
      await guest.mount([`fleecing=${small}`]);
      await guest.take();
      await guest.machine.output(
        `yes full | head -c ${3 * mebibyte} | dd of=${devicePath('a')} bs=${mebibyte} iflag=fullblock oflag=direct conv=notrunc,fsync status=none`,
      );
      guest.wrote('a', 0, marked('full', 3 * mebibyte));
      await guest.runs();
      await expect(readFirst(guest)).rejects.toMatchObject({ code: 'EIO' });
      await brokenBy(guest);
      await expect(guest.say('success')).rejects.toMatchObject({ code: 'EIO' });
      await guest.end();
      await guest.expectNothingLeft();
      await guest.mount();
    } finally {
      await run('umount', [small]);
    }
    await guest.expectAllRight();
  });

  fault('1000 random discards, aligned and not', async () => {
    await guest.take();
    const at = guest.digests();
    await guest.expectDisks(at);
    const size = guest.contents('a').length;
    let state = 4711;
    const random = (below: number): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    for (let count = 0; count < 1000; count += 50) {
      const commands = Array.from({ length: 50 }, () => {
        const disk = random(2) === 0 ? 'a' : 'b';
        const aligned = random(3) === 0;
        const offset = aligned ? random(size / granuleBytes) * granuleBytes : random(size - 1);
        const most = Math.min(size - offset, 4 * granuleBytes);
        const length = aligned ? Math.min(granuleBytes * (1 + random(3)), size - offset) : 1 + random(most);
        const path = guest.mounted.path(guest.open, 'disks', `${disk}.raw`);
        return `fallocate --punch-hole --keep-size -o ${offset} -l ${length} '${path}'`;
      });
      await run('sh', ['-ec', commands.join('\n')]);
      await guest.write();
    }
    await guest.runs();
    await guest.say('success');
    await guest.end();
    await guest.expectAllRight();
  });
});
