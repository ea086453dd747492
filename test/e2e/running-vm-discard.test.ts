import { open, readdir, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { allocate, KEEP_SIZE, PUNCH_HOLE } from '../conformance/system-calls.js';
import { writeMarked } from '../machine/known-writes.js';
import { run } from './command-line.js';
import { granuleBytes, granulesOf, guestSha256, KeptCopies } from './increments.js';
import { MountedGuest } from './mounted-guest.js';
import { output } from './served-mount.js';

const mebibyte = 2 ** 20;
// A disk need not end where a granule does.
const diskBytes = 12 * mebibyte + 4096;

describe('what is given back of a running VM’s snapshot', () => {
  let guest: MountedGuest;
  let kept: KeptCopies;

  beforeAll(async () => {
    guest = await MountedGuest.make({
      agent: false,
      disks: [
        { id: 'plain', bytes: diskBytes },
        { id: 'thread', bytes: diskBytes, format: 'qcow2', iothread: true },
      ],
    });
    kept = new KeptCopies(guest, guest.folder);
    await guest.mount();
  });
  afterAll(() => guest.remove());
  // A test that failed holds up no other.
  afterEach(async () => {
    for (const left of await readdir(guest.path()).catch(() => [])) await guest.finish(left);
  });

  const raw = (name: string, disk: string): string => guest.path(name, 'disks', `${disk}.raw`);
  const punch = async (path: string, offset: number, length: number): Promise<void> => {
    await output('fallocate', '--punch-hole', '-o', String(offset), '-l', String(length), path);
  };
  const readAt = async (path: string, offset: number, length: number): Promise<Buffer> => {
    const file = await open(path, 'r');
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, offset);
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  };

  /** What the fleecing images take up, in bytes: stillfs has them open, and nobody else can name them. */
  const fleecing = async (): Promise<number> => {
    let bytes = 0;
    const folder = `/proc/${guest.pid}/fd`;
    for (const descriptor of await readdir(folder)) {
      const path = join(folder, descriptor);
      const target = await readlink(path).catch(() => '');
      if (target.startsWith(`${guest.fleecing}/`)) bytes += (await stat(path)).blocks * 512;
    }
    return bytes;
  };

  describe.each(['plain', 'thread'])('on disk %s', (disk) => {
    it('frees fleecing space, can’t be read any more, and is no hole', async () => {
      const name = `punched-${disk}`;
      await writeMarked(guest.machine, disk, 0, 2 * mebibyte, 'old');
      await guest.take(name);
      expect(await fleecing()).toBe(0);
      await writeMarked(guest.machine, disk, 0, 2 * mebibyte, 'new');
      expect(await fleecing()).toBe(2 * mebibyte);
      const path = raw(name, disk);
      await punch(path, 0, mebibyte);
      expect(await fleecing()).toBe(mebibyte);
      await expect(readAt(path, 0, 4096)).rejects.toMatchObject({ code: 'EIO' });
      await expect(readAt(path, mebibyte - 1, 2)).rejects.toMatchObject({ code: 'EIO' });
      expect(await readAt(path, mebibyte, 4)).toEqual(Buffer.from('old\n'));
      const map: Array<{ start: number; length: number; data: boolean }> = JSON.parse(
        await output('qemu-img', 'map', '--output=json', '-f', 'raw', path),
      );
      expect(map[0]).toMatchObject({ start: 0, data: true });
      expect(map[0]?.length).toBeGreaterThanOrEqual(2 * mebibyte);
      expect((await stat(path)).size).toBe(diskBytes);

      // What the guest writes there is copied no more.
      await writeMarked(guest.machine, disk, 0, mebibyte, 'newer');
      expect(await fleecing()).toBe(mebibyte);
      await punch(path, 0, diskBytes);
      expect(await fleecing()).toBe(0);
      await guest.finish(name);
    });

    it('is kept until whole granules have come together, but can’t be read at once', async () => {
      const name = `pieces-${disk}`;
      await writeMarked(guest.machine, disk, 0, mebibyte, 'old');
      await guest.take(name);
      await writeMarked(guest.machine, disk, 0, mebibyte, 'new');
      const path = raw(name, disk);
      const file = await open(path, 'r+');
      try {
        const piece = granuleBytes / 4;
        for (const at of [2, 0, 3]) {
          await allocate(file.fd, PUNCH_HOLE | KEEP_SIZE, at * piece, piece);
          expect(await fleecing()).toBe(mebibyte);
          await expect(readAt(path, at * piece, 512)).rejects.toMatchObject({ code: 'EIO' });
        }
        expect(await readAt(path, piece, 4)).toEqual(Buffer.from('old\n'));
        await allocate(file.fd, PUNCH_HOLE | KEEP_SIZE, piece, piece);
        expect(await fleecing()).toBe(mebibyte - granuleBytes);
        // At the disk's end a granule is shorter.
        await allocate(file.fd, PUNCH_HOLE | KEEP_SIZE, diskBytes - 4096, 4096);
        await expect(readAt(path, diskBytes - 512, 512)).rejects.toMatchObject({ code: 'EIO' });
        await allocate(file.fd, PUNCH_HOLE | KEEP_SIZE, diskBytes - 100, 10 * mebibyte);
      } finally {
        await file.close();
      }
      await guest.finish(name);
    });

    it('goes through a loop device as blkdiscard has it', async () => {
      const name = `loop-${disk}`;
      await writeMarked(guest.machine, disk, 0, 2 * mebibyte, 'old');
      await guest.take(name);
      await writeMarked(guest.machine, disk, 0, 2 * mebibyte, 'new');
      const loop = (await output('losetup', '--show', '-f', raw(name, disk))).trim();
      try {
        await output('blkdiscard', '--offset', '0', '--length', String(mebibyte), loop);
        expect(await fleecing()).toBe(mebibyte);
        await expect(readAt(raw(name, disk), 0, 4096)).rejects.toMatchObject({ code: 'EIO' });
        expect((await readAt(loop, mebibyte, 4096)).subarray(0, 4)).toEqual(Buffer.from('old\n'));
      } finally {
        await output('losetup', '-d', loop);
      }
      await guest.finish(name);
    });
  });

  it('can be all of an increment, as it is copied, and the chain goes on', async () => {
    const disks = ['plain', 'thread'];
    await guest.take('moved@1');
    await kept.whole('moved@1', ...disks);
    await guest.finish('moved@1', 'success');
    const before = { offset: 3 * mebibyte + 512, length: 512 };
    for (const disk of disks) await writeMarked(guest.machine, disk, before.offset, before.length, 'before');
    const atTheEnd = { offset: diskBytes - 512, length: 512 };
    for (const disk of disks)
      await writeMarked(guest.machine, disk, atTheEnd.offset, atTheEnd.length, 'at the end');
    const { disks: taken } = await guest.take('moved@2');
    expect(taken).toMatchObject(disks.map(() => ({ dirty: granuleBytes + 4096 })));
    const today = await Promise.all(disks.map((disk) => guestSha256(guest.machine, disk)));
    const during = { offset: 0, length: mebibyte };
    for (const disk of disks) await writeMarked(guest.machine, disk, during.offset, during.length, 'during');
    await kept.increment('moved@2', ...disks);
    for (const disk of disks) {
      await punch(raw('moved@2', disk), 0, diskBytes);
      expect(await guest.dirty('moved@2', disk)).toEqual(granulesOf([before, atTheEnd], diskBytes));
    }
    expect(await Promise.all(disks.map((disk) => kept.sha256(disk)))).toEqual(today);
    await guest.finish('moved@2', 'success');

    await guest.take('moved@3');
    for (const disk of disks)
      expect(await guest.dirty('moved@3', disk)).toEqual(granulesOf([during], diskBytes));
    await kept.increment('moved@3', ...disks);
    await guest.finish('moved@3', 'success');
    for (const disk of disks) expect(await kept.sha256(disk)).toBe(await guestSha256(guest.machine, disk));
  });

  it('is all that may be done to it: neither written nor cut', async () => {
    await guest.take('readonly');
    const path = raw('readonly', 'plain');
    const dd = await run('dd', ['if=/dev/zero', `of=${path}`, 'bs=512', 'count=1', 'conv=notrunc']);
    expect(dd.stderr).toContain('Read-only file system');
    expect((await run('truncate', ['-s', '0', path])).stderr).toContain('Read-only file system');
    expect((await run('fallocate', ['-l', String(2 * diskBytes), path])).exitCode).toBe(1);
    expect((await run('fallocate', ['--zero-range', '-l', '65536', path])).exitCode).toBe(1);
    expect((await stat(path)).size).toBe(diskBytes);
    await guest.finish('readonly');
  });

  it('leaves nothing behind, and QEMU has never complained', async () => {
    expect(await guest.end()).toBe(0);
    expect(await guest.leftInQemu()).toEqual([]);
    expect(await guest.machine.output('echo alive')).toBe('alive\n');
    expect(guest.machine.errors).toBe('');
  });
});
