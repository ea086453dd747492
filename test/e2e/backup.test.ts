import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { BackedUpGuest } from '../backups/backed-up-guest.js';
import { dataBytes, described } from '../backups/stored-backup.js';
import { writeMarked } from '../machine/known-writes.js';
import { devicePath } from '../machine/machine.js';
import { stillfs } from './command-line.js';

const mebibyte = 2 ** 20;
const cluster = 65_536;
const disks = ['a', 'b'] as const;
/** One ends within a cluster. */
const sizes = { a: 8 * mebibyte + 4608, b: 6 * mebibyte };
const full = process.env.STILLFS_FULL !== undefined;

describe('stillfs backup of a running VM', () => {
  let backedUp: BackedUpGuest;

  beforeAll(async () => {
    backedUp = await BackedUpGuest.make({
      agent: false,
      disks: [
        { id: 'a', bytes: sizes.a },
        { id: 'b', bytes: sizes.b, format: 'qcow2' },
      ],
    });
    const conf = join(backedUp.guest.folder, '100.conf');
    await writeFile(conf, 'memory: 192\n');
    await backedUp.guest.mount([`conf=${conf}`]);
  });
  afterAll(() => backedUp?.remove());
  afterEach(async () => {
    expect(await backedUp.left()).toEqual([]);
  });

  const write = async (mark: string, offset: number, length: number): Promise<void> => {
    for (const disk of disks) await writeMarked(backedUp.guest.machine, disk, offset, length, mark);
  };
  const newest = async (): Promise<string | undefined> => (await backedUp.backups()).at(-1);
  const guestOption = (): string =>
    `id=100,qmp=${backedUp.guest.machine.qmpPath},fleecing=${backedUp.guest.fleecing}`;

  it('stores whole disks, of which zeros take up nothing', async () => {
    await write('first', mebibyte, 3 * mebibyte);
    const made = await backedUp.backup('--full');
    const { chain, parent, disks: stored } = await described(made);
    expect({ chain, parent }).toEqual({ chain: null, parent: null });
    for (const disk of disks) {
      expect(stored[disk]).toMatchObject({ mode: 'none', base: null, parent: null, size: sizes[disk] });
      expect(await dataBytes(made, disk)).toBe(3 * mebibyte);
    }
    const files = [
      'a.qcow2',
      'a.sums',
      'b.qcow2',
      'b.sums',
      'backup.json',
      'backup.log',
      'guest.conf',
      'guest.conf.sums',
    ];
    expect((await readdir(made)).sort()).toEqual(files);
    expect(await readFile(join(made, 'guest.conf'), 'utf8')).toBe('memory: 192\n');
    expect(await readFile(join(made, 'backup.log'), 'utf8')).toMatch(/took the snapshot .*\n/);
  });

  it('stores of a chain what was written, zeroed and discarded since', async () => {
    const first = await described(await backedUp.backup());
    expect(first).toMatchObject({ chain: 'store', parent: null, disks: { a: { mode: 'new' } } });
    const parent = await newest();
    await write('second', 2 * mebibyte, 100 * 1024);
    const { machine } = backedUp.guest;
    await machine.output(`dd if=/dev/zero of=${devicePath('a')} bs=64k seek=20 count=4 conv=notrunc,fsync`);
    await machine.output(`blkdiscard -o ${3 * mebibyte} -l ${mebibyte} ${devicePath('b')}`);
    await writeMarked(machine, 'a', sizes.a - 512, 512, 'the very end');
    const second = await backedUp.backup();
    const { parent: told, disks: stored } = await described(second);
    expect(told).toBe(parent);
    for (const disk of disks)
      expect(stored[disk]).toMatchObject({ mode: 'reuse', base: first.snapshot, parent });
    expect(await dataBytes(second, 'a')).toBe(2 * cluster + 4608);
    expect(await dataBytes(second, 'b')).toBe(2 * cluster);
  });

  it('has the next increment hold the changes of two times where one backup failed', async () => {
    const parent = await newest();
    await write('before the failure', 0, 4096);
    const failed = await backedUp.run('--hook', 'backup-start=exit 7');
    expect(failed).toMatchObject({ exitCode: 1, stdout: expect.stringMatching(/hook backup-start failed/) });
    const missing = await backedUp.run('--disk', 'c');
    expect(missing).toMatchObject({ exitCode: 1, stdout: expect.stringMatching(/no disk c .*it has a, b/) });
    expect(await newest()).toBe(parent);
    await write('after the failure', 5 * mebibyte, 4096);
    const made = await backedUp.backup();
    expect(await described(made)).toMatchObject({ parent, disks: { a: { dirtyBytes: 2 * cluster } } });
  });

  it('compares a disk whose bitmap is lost, and stores what differs', async () => {
    const parent = await newest();
    const dropped = await stillfs('chain', 'drop', '100', 'store', '--guest', guestOption());
    expect(dropped.exitCode, dropped.stderr).toBe(0);
    // Written to, and as before; changed; and zeroed, where there was data.
    await write('first', mebibyte, mebibyte);
    await write('third', 4 * mebibyte, 300 * 1024);
    const { machine } = backedUp.guest;
    await machine.output(`dd if=/dev/zero of=${devicePath('a')} bs=1M seek=1 count=1 conv=notrunc,fsync`);
    const made = await backedUp.backup();
    const { disks: stored } = await described(made);
    for (const disk of disks) {
      expect(stored[disk]).toMatchObject({ mode: 'compared', base: null, parent });
      // In clusters, which is what is stored at least.
      expect(await dataBytes(made, disk)).toBe(5 * cluster);
    }
    await write('fourth', 0, 512);
    expect(await described(await backedUp.backup())).toMatchObject({
      disks: { a: { mode: 'reuse' }, b: { mode: 'reuse', dirtyBytes: cluster } },
    });
  });

  it('stores the disks that are wanted; the others are compared when it is their turn', async () => {
    await write('fifth', 2 * mebibyte, 4096);
    const one = await described(await backedUp.backup('--disk', 'b'));
    expect(Object.keys(one.disks)).toEqual(['b']);
    await write('sixth', 3 * mebibyte, 4096);
    const made = await backedUp.backup();
    expect(await described(made)).toMatchObject({
      disks: { a: { mode: 'compared', dirtyBytes: 2 * cluster }, b: { mode: 'reuse', dirtyBytes: cluster } },
    });
  });

  it('stores a disk that has grown', async () => {
    const { machine } = backedUp.guest;
    await machine.qmp('block_resize', { 'node-name': 'drive-b', size: sizes.b + 2 * mebibyte });
    const sectors = '/sys/class/block/$(basename $(readlink /dev/disk/b))/size';
    await machine.output(`until [ $(cat ${sectors}) = ${sizes.b / 512 + 4096} ]; do usleep 5000; done`);
    await writeMarked(machine, 'b', sizes.b + mebibyte, 4096, 'beyond');
    const made = await backedUp.backup();
    expect(await described(made)).toMatchObject({
      disks: { b: { mode: 'reuse', size: sizes.b + 2 * mebibyte } },
    });
    expect(await dataBytes(made, 'b')).toBe(cluster);
  });

  it('goes on with a chain of which only what has changed can be read', async () => {
    const parent = await newest();
    await backedUp.guest.end();
    await backedUp.guest.mount(['readable=dirty']);
    await write('seventh', 5 * mebibyte - 1024, 2048);
    const made = await backedUp.backup();
    expect(await described(made)).toMatchObject({ parent, disks: { a: { mode: 'reuse' } } });
    expect(await dataBytes(made, 'a')).toBe(2 * cluster);
    // Another store does not have the backup that the map is relative to.
    const strange = await backedUp.run('--store', backedUp.guest.images, '--chain', 'store');
    expect(strange).toMatchObject({
      exitCode: 1,
      stdout: expect.stringMatching(/stillfs chain drop 100 store/),
    });
    await backedUp.guest.end();
    await backedUp.guest.mount();
  });

  it('tells programs what happens, and runs hooks with the facts', async () => {
    const log = join(backedUp.guest.folder, 'hooks');
    const note = 'echo $STILLFS_PHASE $STILLFS_GUESTS $STILLFS_GUEST $STILLFS_CHAIN $STILLFS_BACKUP';
    const phases = ['job-start', 'backup-start', 'backup-end', 'backup-abort', 'job-end', 'job-abort'];
    const hooks = phases.flatMap((phase) => ['--hook', `${phase}=${note} >>${log}`]);
    const { exitCode, stdout } = await backedUp.run(
      '--json',
      '--chain',
      'hooked',
      '--bwlimit',
      '64M',
      ...hooks,
    );
    expect(exitCode).toBe(0);
    const events: Array<{ event: string; backup?: string }> = stdout
      .split('\n')
      .map((line) => JSON.parse(line));
    const last = events.at(-1);
    expect(events[0]).toMatchObject({ event: 'backup-start', guest: '100' });
    expect(events).toContainEqual(
      expect.objectContaining({ event: 'progress', part: 'a', done: sizes.a, total: sizes.a }),
    );
    expect(last).toMatchObject({ event: 'backup-end', guest: '100', backup: await newest() });
    expect((await readFile(log, 'utf8')).split('\n')).toEqual([
      'job-start 100 hooked',
      'backup-start 100 hooked',
      `backup-end 100 hooked ${last?.backup}`,
      'job-end 100 hooked',
      '',
    ]);
  });

  it('stores the instant, whatever the guest writes meanwhile', async () => {
    await write('eighth', mebibyte, 2 * mebibyte);
    const during = (): Promise<void> => write('during', mebibyte / 2, 3 * mebibyte);
    const made = await backedUp.backupDuring(during, '--bwlimit', '2M');
    expect(await described(made)).toMatchObject({ disks: { b: { dirtyBytes: 2 * mebibyte } } });
  });

  if (full) {
    it('makes thirty increments, while the guest writes', { timeout: 900_000 }, async () => {
      for (let round = 0; round < 30; round++) {
        await write(`round ${round}`, (round % 11) * 512 * 1024, 4096 * (1 + (round % 40)));
        const during = (): Promise<void> => write(`during ${round}`, ((round * 7) % 11) * 512 * 1024, 8192);
        await backedUp.backupDuring(during, '--chain', 'thirty');
      }
    });

    it('keeps of them what rules and protection keep, and goes on from there', {
      timeout: 300_000,
    }, async () => {
      const before = await backedUp.backups();
      const kept = [before.length - 22, before.length - 21, before.length - 9].map((at) => before[at] ?? '');
      for (const backup of kept) await stillfs('protect', `${backedUp.store}:100/${backup}`);
      const pruned = await stillfs('prune', backedUp.store, '--keep-last', '4');
      expect(pruned.exitCode, pruned.stdout).toBe(0);
      const after = await backedUp.backups();
      expect(after).toEqual([...kept, ...before.slice(-4)]);
      backedUp.forget(before.filter((backup) => !after.includes(backup)));
      await write('after the prune', mebibyte, 8192);
      const made = await backedUp.backup('--chain', 'thirty');
      expect(await described(made)).toMatchObject({ parent: before.at(-1), disks: { a: { mode: 'reuse' } } });
      const verified = await stillfs('verify', backedUp.store);
      expect(verified.exitCode, verified.stdout).toBe(0);
    });
  }

  it('restores to what the guest had, each and every one', async () => {
    expect(await backedUp.wrong()).toEqual([]);
  });
});
