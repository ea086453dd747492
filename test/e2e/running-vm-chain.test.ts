import { mkdir, readdir, readFile, stat, symlink, unlink, writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeMarked } from '../machine/known-writes.js';
import { devicePath } from '../machine/machine.js';
import { granulesOf, guestSha256, KeptCopies, type Range } from './increments.js';
import { MountedGuest } from './mounted-guest.js';
import { sha256 } from './served-mount.js';

const mebibyte = 2 ** 20;
const diskBytes = 12 * mebibyte;
const disks = ['a', 'b'] as const;

describe('a running VM with a raw and a qcow2 disk, mounted', () => {
  let guest: MountedGuest;
  let monitor: string;
  let description: string;
  let folders = 0;

  beforeAll(async () => {
    guest = await MountedGuest.make({
      agent: false,
      disks: [
        { id: 'a', bytes: diskBytes, filesystem: 'ext4' },
        { id: 'b', bytes: diskBytes, format: 'qcow2' },
      ],
    });
    monitor = join(guest.folder, 'qmp.sock');
    await symlink(guest.machine.qmpPath, monitor);
    description = join(guest.mountpoint, 'guests', '100', 'guest.json');
    await guest.serve([
      ...['--state', guest.state],
      ...['--guest', `id=100,qmp=${monitor},fleecing=${guest.fleecing}`],
      ...['--guest', `id=200,qmp=${join(guest.folder, 'nobody.sock')},fleecing=${guest.fleecing}`],
    ]);
  });
  afterAll(() => guest.remove());

  /** The guest switches itself off and is booted anew. */
  const restart = async (): Promise<void> => {
    const { machine } = guest;
    expect(await machine.powerdown()).toMatchObject({ code: 0, errors: '' });
    await machine.remove();
    await guest.boot();
    await unlink(monitor);
    await symlink(guest.machine.qmpPath, monitor);
  };

  /** The guest writes a mark to both disks, at the same places. */
  const write = async (mark: string, ...ranges: Range[]): Promise<void> => {
    for (const disk of disks)
      for (const { offset, length } of ranges) await writeMarked(guest.machine, disk, offset, length, mark);
  };
  const guestHashes = (): Promise<string[]> =>
    Promise.all(disks.map((disk) => guestSha256(guest.machine, disk)));
  const raw = (name: string, disk: string): string => guest.path(name, 'disks', `${disk}.raw`);
  const shownHashes = (name: string): Promise<string[]> =>
    Promise.all(disks.map((disk) => sha256(raw(name, disk))));
  const bitmaps = async (): Promise<string[]> => {
    const nodes = (await guest.machine.qmp('query-named-block-nodes', { flat: true })) as Array<{
      'dirty-bitmaps'?: Array<{ name?: string }>;
    }>;
    return nodes.flatMap((node) => (node['dirty-bitmaps'] ?? []).flatMap(({ name }) => name ?? []));
  };
  const copies = async (): Promise<KeptCopies> => {
    const folder = join(guest.folder, `copies-${++folders}`);
    await mkdir(folder);
    return new KeptCopies(guest, folder);
  };

  describe('a full snapshot', () => {
    it('is what the guest itself computed, though it writes on, and touches no bitmap', async () => {
      await write('before', { offset: 0, length: 2 * mebibyte });
      const before = await guestHashes();
      const facts = await guest.take('full');
      expect(facts.chain).toBeNull();
      expect(facts.disks).toMatchObject(
        disks.map((name) => ({ name, size: diskBytes, mode: 'none', base: null, dirty: diskBytes })),
      );
      const writing = write('during', { offset: mebibyte / 2, length: 4 * mebibyte });
      expect(await shownHashes('full')).toEqual(before);
      await writing;
      expect(await shownHashes('full')).toEqual(before);
      expect(await guestHashes()).not.toEqual(before);
      expect(await bitmaps()).toEqual([]);
      await guest.finish('full');
      expect(await guest.leftInQemu()).toEqual([]);
    });

    it('is the guest’s frozen file system, byte for byte', async () => {
      const { machine } = guest;
      await machine.output(`mkfs.ext4 -q -F ${devicePath('a')} && mkdir -p /run/mnt/a`);
      await machine.output(`mount ${devicePath('a')} /run/mnt/a`);
      try {
        await machine.output('cd /run/mnt/a && seq 50000 >numbers && mkdir one && echo two >one/two');
        await machine.output('fsfreeze --freeze /run/mnt/a');
        const frozen = await guestSha256(machine, 'a');
        await guest.take('frozen');
        await machine.output('fsfreeze --unfreeze /run/mnt/a');
        await machine.output('cd /run/mnt/a && rm -r one && seq 20000 90000 >numbers && sync');
        expect(await sha256(raw('frozen', 'a'))).toBe(frozen);
        expect(await guestSha256(machine, 'a')).not.toBe(frozen);
        await guest.finish('frozen');
      } finally {
        await machine.output('fsfreeze --unfreeze /run/mnt/a 2>/dev/null; umount /run/mnt/a');
      }
    });
  });

  describe('a chain', () => {
    it('tells from snapshot to snapshot exactly what was written, and brings a copy along', async () => {
      const kept = await copies();
      const first = await guest.take('nightly@first');
      expect(first.disks).toMatchObject(disks.map((name) => ({ name, mode: 'new', base: null })));
      for (const disk of disks)
        expect(await guest.dirty('nightly@first', disk)).toEqual([{ offset: 0, length: diskBytes }]);
      await kept.whole('nightly@first', ...disks);
      await guest.finish('nightly@first', 'success');

      // Of other sizes and places than granules, beside each other, and at the disk's very end.
      const written = [
        { offset: 512, length: 512 },
        { offset: 3 * mebibyte, length: 65_536 },
        { offset: 3 * mebibyte + 65_536, length: 4096 },
        { offset: 5 * mebibyte - 512, length: 1024 },
        { offset: diskBytes - 512, length: 512 },
      ];
      await write('second', ...written);
      const today = await guestHashes();
      const second = await guest.take('nightly@second');
      const dirty = granulesOf(written, diskBytes);
      const bytes = dirty.reduce((sum, { length }) => sum + length, 0);
      expect(second.disks).toMatchObject(
        disks.map((name) => ({ name, mode: 'reuse', base: first.id, dirty: bytes })),
      );
      for (const disk of disks) expect(await guest.dirty('nightly@second', disk)).toEqual(dirty);
      const later = { offset: 10 * mebibyte, length: 8192 };
      await write('third', later);
      expect(await shownHashes('nightly@second')).toEqual(today);
      await kept.increment('nightly@second', ...disks);
      expect(await Promise.all(disks.map((disk) => kept.sha256(disk)))).toEqual(today);
      await guest.finish('nightly@second', 'success');

      const third = await guest.take('nightly@third');
      expect(third.disks).toMatchObject(disks.map((name) => ({ name, mode: 'reuse', base: second.id })));
      for (const disk of disks)
        expect(await guest.dirty('nightly@third', disk)).toEqual(granulesOf([later], diskBytes));
      await kept.increment('nightly@third', ...disks);
      await guest.finish('nightly@third', 'success');
      expect(await Promise.all(disks.map((disk) => kept.sha256(disk)))).toEqual(await guestHashes());

      await guest.take('nightly@unchanged');
      for (const disk of disks) expect(await guest.dirty('nightly@unchanged', disk)).toEqual([]);
      await guest.finish('nightly@unchanged', 'success');
    });

    it.each([
      ['is said to have failed', 'failed', (name: string) => guest.finish(name, 'failure')],
      ['is ended without a word', 'forgotten', (name: string) => guest.finish(name)],
      [
        'was a success that was taken back',
        'revoked',
        async (name: string) => {
          await writeFile(guest.path(name, 'outcome'), 'success\n');
          await guest.finish(name, 'failure');
        },
      ],
    ])('loses nothing with a snapshot that %s', async (_how, chain, finish) => {
      const kept = await copies();
      const { id } = await guest.take(`${chain}@1`);
      await kept.whole(`${chain}@1`, ...disks);
      await guest.finish(`${chain}@1`, 'success');
      const before = { offset: mebibyte, length: 4096 };
      const during = { offset: 7 * mebibyte, length: 100 * 1024 };
      const after = { offset: 9 * mebibyte, length: 512 };

      await write(`${chain} before`, before);
      await guest.take(`${chain}@2`);
      await write(`${chain} during`, during);
      await finish(`${chain}@2`);
      await write(`${chain} after`, after);

      const today = await guestHashes();
      const third = await guest.take(`${chain}@3`);
      expect(third.disks).toMatchObject(disks.map((name) => ({ name, mode: 'reuse', base: id })));
      for (const disk of disks)
        expect(await guest.dirty(`${chain}@3`, disk)).toEqual(granulesOf([before, during, after], diskBytes));
      await kept.increment(`${chain}@3`, ...disks);
      expect(await Promise.all(disks.map((disk) => kept.sha256(disk)))).toEqual(today);
      await guest.finish(`${chain}@3`, 'success');
    });

    it('begins again when its first snapshot fails', async () => {
      await guest.take('early@1');
      await guest.finish('early@1', 'failure');
      const second = await guest.take('early@2');
      expect(second.disks).toMatchObject(disks.map((name) => ({ name, mode: 'new', dirty: diskBytes })));
      await guest.finish('early@2');
      expect((await bitmaps()).filter((name) => name.includes(':early:'))).toEqual([]);
    });

    it('is not disturbed by others, nor by full snapshots between', async () => {
      const written: Record<string, Range> = {};
      for (const chain of ['x', 'y', 'z']) {
        await guest.take(`${chain}@1`);
        await guest.finish(`${chain}@1`, 'success');
        const range = { offset: (chain.charCodeAt(0) - 100) * 131_072, length: 4096 };
        written[chain] = range;
        await write(chain, range);
        await guest.take('between');
        await guest.finish('between', 'success');
      }
      const since = { x: 'xyz', y: 'yz', z: 'z' };
      for (const [chain, chains] of Object.entries(since)) {
        await guest.take(`${chain}@2`);
        const ranges = [...chains].flatMap((each) => written[each] ?? []);
        for (const disk of disks)
          expect(await guest.dirty(`${chain}@2`, disk)).toEqual(granulesOf(ranges, diskBytes));
        await guest.finish(`${chain}@2`, 'success');
      }
    });

    it('on qcow2 outlives a shutdown of the guest; on raw it begins again and says why', async () => {
      await guest.take('restarted@1');
      await guest.finish('restarted@1', 'success');
      const before = { offset: 2 * mebibyte, length: 65_536 };
      await write('before the shutdown', before);
      await restart();
      const after = { offset: 4 * mebibyte, length: 512 };
      await write('after the shutdown', after);
      const { disks: [rawDisk, qcow2Disk] = [] } = await guest.take('restarted@2');
      expect(rawDisk).toMatchObject({ mode: 'new', base: null, reason: 'the bitmap is lost' });
      expect(qcow2Disk).toMatchObject({ mode: 'reuse' });
      expect(await guest.dirty('restarted@2', 'a')).toEqual([{ offset: 0, length: diskBytes }]);
      expect(await guest.dirty('restarted@2', 'b')).toEqual(granulesOf([before, after], diskBytes));
      expect(await shownHashes('restarted@2')).toEqual(await guestHashes());
      await guest.finish('restarted@2', 'success');
    });
  });

  describe('the folder of snapshots', () => {
    it.each([
      '.hidden',
      'two@at@signs',
      '@name',
      'chain@',
      'a b',
      'ä',
      'a'.repeat(64),
    ])('takes no snapshot called %s', async (name) => {
      await expect(mkdir(guest.path(name))).rejects.toMatchObject({ code: 'EINVAL' });
    });

    it('has one snapshot at a time, and a name once', async () => {
      await expect(guest.finish('nothing')).rejects.toMatchObject({ code: 'ENOENT' });
      await guest.take('only@1');
      await expect(mkdir(guest.path('only@1'))).rejects.toMatchObject({ code: 'EEXIST' });
      await expect(mkdir(guest.path('only@2'))).rejects.toMatchObject({ code: 'EBUSY' });
      await expect(mkdir(guest.path('other'))).rejects.toMatchObject({ code: 'EBUSY' });
      expect(await readdir(guest.path())).toEqual(['only@1']);
      await guest.finish('only@1');
      expect(await readdir(guest.path())).toEqual([]);
    });

    it('gives a name that is used again new files', async () => {
      const inodes = async (): Promise<bigint[]> => {
        const paths = [guest.path('again'), raw('again', 'a'), guest.path('again', 'snapshot.json')];
        return Promise.all(paths.map(async (path) => (await stat(path, { bigint: true })).ino));
      };
      await write('one', { offset: 0, length: 4096 });
      const first = await guest.take('again');
      const firstInodes = await inodes();
      const [hash] = await shownHashes('again');
      await guest.finish('again');
      await write('two', { offset: 0, length: 4096 });
      const second = await guest.take('again');
      expect(second.id).not.toBe(first.id);
      for (const inode of await inodes()) expect(firstInodes).not.toContain(inode);
      expect((await shownHashes('again'))[0]).not.toBe(hash);
      await guest.finish('again');
    });

    it('says of a snapshot what it is, and of none that it has a problem', async () => {
      const facts = await guest.take('plain');
      expect(facts).toMatchObject({ outcome: 'pending', broken: null, frozenFileSystems: null, omitted: [] });
      expect((await readdir(guest.path('plain'))).sort()).toEqual([
        'changes',
        'disks',
        'files',
        'outcome',
        'rootfs',
        'snapshot.json',
        'volumes.json',
      ]);
      await expect(stat(guest.path('plain', 'PROBLEM.txt'))).rejects.toMatchObject({ code: 'ENOENT' });
      await writeFile(guest.path('plain', 'outcome'), 'success');
      expect(await readFile(guest.path('plain', 'outcome'), 'utf8')).toBe('success\n');
      expect(JSON.parse(await readFile(guest.path('plain', 'snapshot.json'), 'utf8'))).toMatchObject({
        id: facts.id,
        outcome: 'success',
      });
      await guest.finish('plain');
    });

    it('shows guest.json and snapshot.json whole, whatever changes meanwhile', async () => {
      let over = false;
      let read = 0;
      const reading = (async () => {
        for (; !over; read++) {
          for (const path of [description, guest.path('whole@1', 'snapshot.json')]) {
            const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
              // It ended just now. (Node has no name for ESTALE.)
              if (['ENOENT', 'EIO'].includes(error.code ?? '') || error.errno === -constants.errno.ESTALE)
                return '{}';
              throw error;
            });
            expect(() => JSON.parse(text), text).not.toThrow();
            // Of what a snapshot puts before the disks nothing is to be seen.
            if (path === description)
              expect(JSON.parse(text).disks).toMatchObject([{ format: 'raw' }, { format: 'qcow2' }]);
          }
        }
      })();
      try {
        for (let round = 0; round < 4; round++) {
          await guest.take('whole@1');
          await write('whole', { offset: round * mebibyte, length: 4096 });
          await guest.finish('whole@1', 'success');
        }
      } finally {
        over = true;
        await reading;
      }
      expect(read).toBeGreaterThan(5);
    });
  });

  it('is told of in guest.json, beside a guest that is off', async () => {
    const { chains, ...rest } = JSON.parse(await readFile(description, 'utf8'));
    expect(rest).toMatchObject({
      id: '100',
      type: 'qemu',
      state: 'running',
      disks: [
        { name: 'a', size: diskBytes, format: 'raw' },
        { name: 'b', size: diskBytes, format: 'qcow2' },
      ],
    });
    expect(chains.map(({ name }: { name: string }) => name)).toContain('restarted');
    const off = join(guest.mountpoint, 'guests', '200');
    expect(JSON.parse(await readFile(join(off, 'guest.json'), 'utf8'))).toMatchObject({
      id: '200',
      state: 'off',
    });
    await expect(mkdir(join(off, 'snapshots', 'none'))).rejects.toMatchObject({ code: 'EHOSTUNREACH' });
  });

  it('is let go wholly by the mount’s end, and its QEMU has never complained', async () => {
    await guest.take('open@1');
    expect(await guest.end()).toBe(0);
    expect(await guest.leftInQemu()).toEqual([]);
    expect(await readdir(guest.fleecing)).toEqual([]);
    expect(await guest.machine.output('echo alive')).toBe('alive\n');
    expect(guest.machine.errors).toBe('');
  });
});
