import { open, readdir, readFile, stat } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { writeMarked } from '../machine/known-writes.js';
import { run } from './command-line.js';
import { granuleBytes, granulesOf, guestSha256, KeptCopies, type Range } from './increments.js';
import { MountedGuest } from './mounted-guest.js';
import { output, sha256 } from './served-mount.js';

const mebibyte = 2 ** 20;
const diskBytes = 10 * mebibyte;
const disks = ['raw', 'qcow2', 'thread'];

async function readAt(path: string, offset: number, length: number): Promise<Buffer> {
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, offset);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

describe('a running VM of which only what is dirty can be read, or whose disks change their size', () => {
  let guest: MountedGuest;
  let kept: KeptCopies;

  beforeAll(async () => {
    const bytes = diskBytes;
    guest = await MountedGuest.make({
      agent: false,
      disks: [
        { id: 'raw', bytes },
        { id: 'qcow2', bytes, format: 'qcow2', bus: 'virtio-scsi' },
        { id: 'thread', bytes, format: 'qcow2', iothread: true },
      ],
    });
    kept = new KeptCopies(guest, guest.folder);
    await guest.mount(['readable=dirty']);
  });
  afterAll(() => guest?.remove());
  // A test that failed holds up no other.
  afterEach(async () => {
    for (const left of await readdir(guest.path()).catch(() => [])) await guest.finish(left);
  });

  const raw = (name: string, disk: string): string => guest.path(name, 'disks', `${disk}.raw`);
  const write = async (mark: string, ...ranges: Range[]): Promise<void> => {
    for (const disk of disks)
      for (const { offset, length } of ranges) await writeMarked(guest.machine, disk, offset, length, mark);
  };
  const hashes = (): Promise<string[]> => Promise.all(disks.map((disk) => guestSha256(guest.machine, disk)));
  /** The host gives a disk another size, and the guest has seen it. */
  const resize = async (disk: string, size: number): Promise<void> => {
    await guest.machine.qmp('block_resize', { 'node-name': `drive-${disk}`, size });
    const sectors = `/sys/class/block/$(basename $(readlink /dev/disk/${disk}))/size`;
    if (disk === 'qcow2')
      await guest.machine.output(
        `echo 1 >/sys/class/block/$(basename $(readlink /dev/disk/${disk}))/device/rescan`,
      );
    await guest.machine.output(`until [ $(cat ${sectors}) = ${size / 512} ]; do usleep 5000; done`);
  };

  /** Begins a chain, and keeps whole copies of its disks. */
  const begin = async (chain: string): Promise<void> => {
    const { disks: taken } = await guest.take(`${chain}@1`);
    expect(taken).toMatchObject(disks.map(() => ({ mode: 'new' })));
    await kept.whole(`${chain}@1`, ...disks);
    await guest.finish(`${chain}@1`, 'success');
  };

  it('can be read wholly where the whole disk is dirty, or the snapshot is of no chain', async () => {
    await write('old', { offset: 0, length: mebibyte });
    const before = await hashes();
    for (const name of ['plain', 'whole@1']) {
      await guest.take(name);
      expect(await Promise.all(disks.map((disk) => sha256(raw(name, disk))))).toEqual(before);
      await guest.finish(name, 'success');
    }
  });

  it('gives the changes, and of the rest EIO, which it calls data and not holes', async () => {
    await begin('chain');
    const written = [
      { offset: 2 * mebibyte + 512, length: 512 },
      { offset: 6 * mebibyte, length: 200 * 1024 },
      { offset: diskBytes - 512, length: 512 },
    ];
    await write('new', ...written);
    const today = await hashes();
    const facts = await guest.take('chain@2');
    const dirty = granulesOf(written, diskBytes);
    expect(facts.disks).toMatchObject(disks.map(() => ({ mode: 'reuse' })));
    const later = { offset: 6 * mebibyte, length: mebibyte };
    await write('later', later);
    for (const disk of disks) {
      const path = raw('chain@2', disk);
      expect(await guest.dirty('chain@2', disk)).toEqual(dirty);
      for (const { offset, length } of dirty) {
        expect((await readAt(path, offset, length)).length).toBe(length);
        await expect(readAt(path, offset - 512, 512)).rejects.toMatchObject({ code: 'EIO' });
        await expect(readAt(path, offset - 512, 1024)).rejects.toMatchObject({ code: 'EIO' });
      }
      await expect(readAt(path, 0, 512)).rejects.toMatchObject({ code: 'EIO' });
      expect((await run('cp', [path, kept.path('never')])).exitCode).toBe(1);
      const map: Array<{ start: number; length: number; data: boolean }> = JSON.parse(
        await output('qemu-img', 'map', '--output=json', '-f', 'raw', path),
      );
      expect(map).toMatchObject([{ start: 0, length: diskBytes, data: true }]);
      expect((await stat(path)).blocks * 512).toBe(diskBytes);
    }
    await kept.increment('chain@2', ...disks);
    expect(await Promise.all(disks.map((disk) => kept.sha256(disk)))).toEqual(today);
    expect(JSON.parse(await readFile(guest.path('chain@2', 'snapshot.json'), 'utf8'))).toMatchObject({
      broken: null,
      readable: 'dirty',
    });
    await guest.finish('chain@2', 'success');

    const tomorrow = await hashes();
    await guest.take('chain@3');
    for (const disk of disks)
      expect(await guest.dirty('chain@3', disk)).toEqual(granulesOf([later], diskBytes));
    await kept.increment('chain@3', ...disks);
    expect(await Promise.all(disks.map((disk) => kept.sha256(disk)))).toEqual(tomorrow);
    await guest.finish('chain@3', 'success');
  });

  it('takes back what has been copied, also in ranges that are not wholly dirty', async () => {
    await begin('back');
    const written = { offset: 4 * mebibyte, length: 2 * granuleBytes };
    await write('new', written);
    await guest.take('back@2');
    for (const disk of disks) {
      const path = raw('back@2', disk);
      await output('fallocate', '--punch-hole', '-o', '0', '-l', String(diskBytes), path);
      await expect(readAt(path, written.offset, 512)).rejects.toMatchObject({ code: 'EIO' });
      expect(await guest.dirty('back@2', disk)).toEqual([written]);
    }
    expect(await guest.machine.output('echo alive')).toBe('alive\n');
    await guest.finish('back@2', 'failure');
    await guest.take('back@3');
    await kept.increment('back@3', ...disks);
    expect(await Promise.all(disks.map((disk) => kept.sha256(disk)))).toEqual(await hashes());
    await guest.finish('back@3', 'success');
  });

  describe.each(['dirty', 'all'])('with readable=%s', (readable) => {
    it('is dirty beyond its old end when it has grown', async () => {
      await guest.end();
      await guest.mount([`readable=${readable}`]);
      const chain = `grown-${readable}`;
      const { disks: before } = await guest.take(`${chain}@1`);
      await kept.whole(`${chain}@1`, ...disks);
      await guest.finish(`${chain}@1`, 'success');
      const written = { offset: mebibyte, length: 4096 };
      // All grow to one size, whatever they were.
      const size = Math.max(...before.map((disk) => disk.size)) + 3 * mebibyte + granuleBytes;
      const dirty = new Map<string, Range[]>();
      for (const { name, size: old } of before) {
        await writeMarked(guest.machine, name, written.offset, written.length, 'old part');
        await resize(name, size);
        await writeMarked(guest.machine, name, old + mebibyte, 4096, 'new part');
        dirty.set(name, [...granulesOf([written], size), { offset: old, length: size - old }]);
      }
      const today = await hashes();
      const { disks: taken } = await guest.take(`${chain}@2`);
      for (const { name, ...facts } of taken) {
        const bytes = dirty.get(name)?.reduce((sum, { length }) => sum + length, 0);
        expect(facts).toMatchObject({ mode: 'reuse', size, dirty: bytes });
        expect(await guest.dirty(`${chain}@2`, name)).toEqual(dirty.get(name));
      }
      await kept.increment(`${chain}@2`, ...disks);
      expect(await Promise.all(disks.map((disk) => kept.sha256(disk)))).toEqual(today);
      await guest.finish(`${chain}@2`, 'failure');

      await guest.take(`${chain}@3`);
      for (const disk of disks) expect(await guest.dirty(`${chain}@3`, disk)).toEqual(dirty.get(disk));
      await guest.finish(`${chain}@3`, 'success');
      await guest.take(`${chain}@4`);
      for (const disk of disks) expect(await guest.dirty(`${chain}@4`, disk)).toEqual([]);
      await guest.finish(`${chain}@4`, 'success');
    });

    it('begins its chain again, and says why, when it has shrunk', async () => {
      const chain = `shrunk-${readable}`;
      const shrunk = ['raw', 'qcow2'];
      const { disks: before } = await guest.take(`${chain}@1`);
      await guest.finish(`${chain}@1`, 'success');
      const size = Math.min(...before.map((disk) => disk.size)) - 4 * mebibyte;
      for (const disk of shrunk) await resize(disk, size);
      const { disks: taken } = await guest.take(`${chain}@2`);
      expect(taken).toMatchObject([
        ...shrunk.map(() => ({ mode: 'new', size, dirty: size, reason: 'the disk is smaller than it was' })),
        { mode: 'reuse', dirty: 0 },
      ]);
      for (const disk of shrunk) {
        expect(await guest.dirty(`${chain}@2`, disk)).toEqual([{ offset: 0, length: size }]);
        expect(await sha256(raw(`${chain}@2`, disk))).toBe(await guestSha256(guest.machine, disk));
      }
      await guest.finish(`${chain}@2`, 'success');
      await guest.take(`${chain}@3`);
      for (const disk of disks) expect(await guest.dirty(`${chain}@3`, disk)).toEqual([]);
      await guest.finish(`${chain}@3`, 'success');
    });
  });

  it('leaves nothing behind, and QEMU has never complained', async () => {
    expect(await guest.end()).toBe(0);
    expect(await guest.leftInQemu()).toEqual([]);
    expect(guest.machine.errors).toBe('');
  });
});
