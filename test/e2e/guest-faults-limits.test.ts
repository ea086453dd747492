import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, open, rename, rmdir, stat, writeFile } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect } from 'vitest';
import { faultsOfGuest } from '../faults/faults-of-guest.js';
import { granuleBytes } from '../faults/known-guest.js';

const run = promisify(execFile);

describe('a snapshot that can not go on, or can not begin', () => {
  const fault = faultsOfGuest('Limits, other programs, and users');

  fault('nothing happens', async () => undefined);

  fault('a foreign NBD server runs in QEMU', async (guest) => {
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
  });

  fault('another program has the monitor', async (guest) => {
    const socket = connect(guest.machine.qmpPath);
    await once(socket, 'data');
    await expect(guest.take()).rejects.toMatchObject({ code: 'EBUSY' });
    socket.destroy();
  });

  fault('two take a snapshot at once', async (guest) => {
    const names = [guest.nextName(), guest.nextName()];
    const tried = await Promise.allSettled(names.map((name) => mkdir(guest.mounted.path(name))));
    const refused = tried.filter((one) => one.status === 'rejected');
    expect(refused.map(({ reason }) => reason.code)).toEqual(['EBUSY']);
    const taken = names[tried.findIndex((one) => one.status === 'fulfilled')] ?? '';
    await rmdir(guest.mounted.path(taken));
  });

  fault('mkdir is interrupted (SIGINT)', async (guest) => {
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
  });

  fault('rmdir with open files', async (guest) => {
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
  });

  fault('unmounted with an open snapshot (SIGTERM)', async (guest) => {
    await guest.take();
    await guest.write();
    expect(await guest.mounted.end('SIGTERM')).toBe(0);
    await guest.write();
    await guest.expectNothingLeft();
    await guest.mount();
  });

  fault(
    'the guest was paused by its administrator',
    async (guest) => {
      await guest.machine.pause();
      const taken = await guest.take();
      expect(taken.frozenFileSystems).toBeNull();
      expect(await guest.machine.qmp('query-status')).toMatchObject({ status: 'paused' });
      await guest.say('success');
      await guest.end();
      expect(await guest.machine.qmp('query-status')).toMatchObject({ status: 'paused' });
      await guest.machine.qmp('cont');
    },
    { rare: true },
  );

  fault('the guest is paused while a snapshot is open', async (guest) => {
    await guest.take();
    await guest.write();
    await guest.machine.pause();
    await guest.end();
    expect(await guest.machine.qmp('query-status')).toMatchObject({ status: 'paused' });
    await guest.machine.qmp('cont');
  });

  fault('a paused guest, and all are killed while it is taken', async (guest) => {
    await guest.machine.pause();
    await writeFile(guest.killOrders, 'both 18\n');
    await expect(guest.take()).rejects.toThrow();
    await guest.mount();
    await expect.poll(() => guest.mounted.leftInQemu(), { timeout: 15_000 }).toEqual([]);
    expect(await guest.machine.qmp('query-status')).toMatchObject({ status: 'paused' });
    // Of a guest that stands still QEMU closes no descriptors that were passed.
    await guest.machine.qmp('cont');
  });

  fault('an agent that never answers', async (guest) => {
    const server: Server = createServer((socket) => socket.resume());
    const path = join(guest.mounted.folder, 'dead-agent');
    await new Promise<void>((resolve) => server.listen(path, resolve));
    await guest.mount([`agent=${path}`, 'freezeTimeout=1']);
    try {
      await expect(guest.take()).rejects.toMatchObject({ code: 'ETIMEDOUT' });
      await guest.runs();
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
    await guest.mount();
  });

  fault(
    'an agent that stops in the middle (SIGSTOP)',
    async (guest) => {
      await guest.machine.output('kill -STOP $(pidof qemu-ga)');
      await guest.mount(['freezeTimeout=1']);
      await expect(guest.take()).rejects.toMatchObject({ code: 'ETIMEDOUT' });
      await guest.runs();
      await guest.machine.output('kill -CONT $(pidof qemu-ga)');
      await guest.mount();
    },
    { rare: true },
  );

  fault("the monitor's socket is removed while a snapshot is open", async (guest) => {
    await guest.take();
    await guest.write();
    const aside = `${guest.machine.qmpPath}.aside`;
    await rename(guest.machine.qmpPath, aside);
    await expect(guest.end()).rejects.toMatchObject({ code: 'EIO' });
    await guest.runs();
    await expect(guest.take()).rejects.toMatchObject({ code: 'EBUSY' });
    await rename(aside, guest.machine.qmpPath);
    await guest.expectNothingLeft();
  });

  fault('it is open for too long (maxAge)', async (guest) => {
    await guest.mount(['maxAge=1']);
    await guest.take();
    await guest.write();
    expect(await guest.brokenBy()).toMatch(/longer than 1 s/);
    await expect(guest.readFirst()).rejects.toMatchObject({ code: 'EIO' });
    await expect(guest.say('success')).rejects.toMatchObject({ code: 'EIO' });
    expect(existsSync(guest.mounted.path(guest.open, 'PROBLEM.txt'))).toBe(true);
    await guest.end();
    await guest.mount();
  });

  fault(
    'it is open for too long after success was said',
    async (guest) => {
      await guest.mount(['maxAge=2']);
      await guest.take();
      await guest.write();
      await guest.say('success');
      await guest.brokenBy();
      await guest.end();
      await guest.mount();
    },
    { rare: true },
  );

  fault('1000 random discards, aligned and not', async (guest) => {
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
  });
});
