import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, open, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BackedUpGuest, heard } from '../backups/backed-up-guest.js';
import { dataBytes } from '../backups/stored-backup.js';
import { writeMarked } from '../machine/known-writes.js';
import { devicePath } from '../machine/machine.js';
import { command, type Run, run } from './command-line.js';
import { output, sha256 } from './served-mount.js';

const mebibyte = 2 ** 20;
/** One ends within a block of 64 KiB. */
const sizes = { a: 8 * mebibyte + 4608, b: 6 * mebibyte };
const disks = ['a', 'b'] as const;

describe('stillfs restore of a VM', () => {
  let backedUp: BackedUpGuest;
  let work: string;
  /** The backups, oldest first, and what the guest said of its disks. */
  const backups: Array<{ name: string; hashes: Record<string, string> }> = [];
  const [first, second] = [(): string => backups[0]?.name ?? '', (): string => backups[1]?.name ?? ''];

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
    work = join(backedUp.guest.folder, 'work');
    await mkdir(work);
    const { machine } = backedUp.guest;
    const backUp = async (): Promise<void> => {
      const hashes = await backedUp.guestHashes();
      const made = await backedUp.backup();
      backups.push({ name: made.slice(made.lastIndexOf('/') + 1), hashes });
    };
    for (const disk of disks) await writeMarked(machine, disk, mebibyte, 3 * mebibyte, 'first');
    await backUp();
    for (const disk of disks) await writeMarked(machine, disk, 2 * mebibyte, 100 * 1024, 'second');
    await machine.output(`dd if=/dev/zero of=${devicePath('a')} bs=64k seek=20 count=4 conv=notrunc,fsync`);
    await writeMarked(machine, 'a', sizes.a - 512, 512, 'the very end');
    await writeMarked(machine, 'b', 0, 512, 'the very beginning');
    await backUp();
    await backedUp.guest.end();
  });
  afterAll(() => backedUp?.remove());

  const restore = (address: string, ...options: string[]): Promise<Run> =>
    run(process.execPath, [command, 'restore', address, ...options], { TMPDIR: backedUp.temporary });
  const of = (time = ''): string => `${backedUp.store}:100${time && `/${time}`}`;
  const fresh = async (name: string): Promise<string> => {
    const path = join(work, name);
    await rm(path, { recursive: true, force: true });
    return path;
  };
  const nothingLeft = async (): Promise<void> => {
    expect(await readdir(backedUp.temporary)).toEqual([]);
    expect((await readdir(work)).filter((name) => name.startsWith('.'))).toEqual([]);
  };
  /** A loop device over a file of these bytes, as long as it is used. */
  const withDevice = async (
    bytes: number,
    use: (device: string, file: string) => Promise<void>,
  ): Promise<void> => {
    const file = await fresh('device');
    await writeFile(file, Buffer.alloc(bytes, 0xff));
    const device = (await output('losetup', '--show', '-f', file)).trim();
    try {
      await use(device, file);
    } finally {
      await output('losetup', '-d', device);
    }
  };
  /** A copy of the store, to be damaged. */
  const copiedStore = async (): Promise<string> => {
    const store = await fresh('copied');
    await cp(backedUp.store, store, { recursive: true });
    return store;
  };
  const flip = async (path: string, at: number): Promise<void> => {
    const file = await open(path, 'r+');
    try {
      const { buffer } = await file.read(Buffer.alloc(1), 0, 1, at);
      await file.write(Buffer.from([(buffer[0] ?? 0) ^ 1]), 0, 1, at);
    } finally {
      await file.close();
    }
  };
  const differing = async (one: string, other: string): Promise<number[]> => {
    const { stdout } = await execa('cmp', ['-l', one, other], { reject: false });
    return stdout
      .split('\n')
      .filter(Boolean)
      .map((line) => Number(line.trim().split(/\s+/)[0]) - 1);
  };

  it('gives back the newest backup, all of it, as the guest had it', async () => {
    const to = await fresh('all');
    const { exitCode, stdout, stderr } = await restore(of(), '--to', to);
    expect(exitCode, stderr).toBe(0);
    expect(await readdir(to)).toEqual(['a.raw', 'b.raw', 'guest.conf']);
    for (const disk of disks) {
      expect(stdout).toMatch(new RegExp(`${second()} +${disk} +yes +${to}/${disk}.raw`));
      expect((await stat(join(to, `${disk}.raw`))).size).toBe(sizes[disk]);
      expect(await sha256(join(to, `${disk}.raw`)), disk).toBe(backups[1]?.hashes[disk]);
    }
    expect(await readFile(join(to, 'guest.conf'), 'utf8')).toBe('memory: 192\n');
    // Zeros are holes: three MiB of data, of which 256 KiB were zeroed, and a cluster at the end.
    expect((await stat(join(to, 'a.raw'))).blocks * 512).toBeLessThanOrEqual(3 * mebibyte);
    await nothingLeft();
  });

  it('gives back an earlier one as qcow2 images that stand alone', async () => {
    const to = await fresh('qcow2');
    const { exitCode, stderr } = await restore(of(first()), '--to', to, '--format', 'qcow2');
    expect(exitCode, stderr).toBe(0);
    for (const disk of disks) {
      const image = join(to, `${disk}.qcow2`);
      await output('qemu-img', 'check', '-q', image);
      const { stdout: facts } = await execa('qemu-img', ['info', '--output=json', image]);
      expect(JSON.parse(facts)).not.toHaveProperty('backing-filename');
      const raw = join(to, `${disk}.raw`);
      await output('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', image, raw);
      expect(await sha256(raw), disk).toBe(backups[0]?.hashes[disk]);
      expect(await dataBytes(to, disk)).toBe(3 * mebibyte);
    }
    await nothingLeft();
  });

  it('gives single disks targets of their own, of the kind that their names tell', async () => {
    const [raw, image] = [await fresh('one.img'), await fresh('two.qcow2')];
    const { exitCode, stderr } = await restore(of('latest'), '--disk', `a=${raw}`, '--disk', `b=${image}`);
    expect(exitCode, stderr).toBe(0);
    expect(await sha256(raw)).toBe(backups[1]?.hashes.a);
    const { stdout: facts } = await execa('qemu-img', ['info', '--output=json', image]);
    expect(JSON.parse(facts)).toMatchObject({ format: 'qcow2', 'virtual-size': sizes.b });
  });

  it('writes a block device, zeros over what was there, and nothing beyond the disk', async () => {
    await withDevice(10 * mebibyte, async (device, file) => {
      const { exitCode, stderr } = await restore(of(), '--disk', `a=${device}`);
      expect(exitCode, stderr).toBe(0);
      await output('blockdev', '--flushbufs', device);
      const bytes = await readFile(file);
      const restored = join(work, 'restored');
      await writeFile(restored, bytes.subarray(0, sizes.a));
      expect(await sha256(restored)).toBe(backups[1]?.hashes.a);
      expect(bytes.subarray(sizes.a).equals(Buffer.alloc(10 * mebibyte - sizes.a, 0xff))).toBe(true);
    });
  });

  it('refuses what is there already, unless it is to be overwritten', async () => {
    const target = await fresh('there');
    await writeFile(target, 'precious');
    const refused = await restore(of(), '--disk', `b=${target}`);
    expect(refused).toMatchObject({
      exitCode: 1,
      stderr: expect.stringMatching(/there is there already; --overwrite/),
    });
    expect(await readFile(target, 'utf8')).toBe('precious');
    const replaced = await restore(of(), '--disk', `b=${target}`, '--overwrite');
    expect(replaced.exitCode, replaced.stderr).toBe(0);
    expect(await sha256(target)).toBe(backups[1]?.hashes.b);

    await withDevice(10 * mebibyte, async (device) => {
      await output('mkfs.ext4', '-q', device);
      const before = await sha256(device);
      const full = await restore(of(), '--disk', `b=${device}`);
      expect(full).toMatchObject({
        exitCode: 1,
        stderr: expect.stringMatching(/it holds ext4; --overwrite/),
      });
      expect(await sha256(device)).toBe(before);
      const wiped = await restore(of(), '--disk', `b=${device}`, '--overwrite');
      expect(wiped.exitCode, wiped.stderr).toBe(0);
    });
    await withDevice(4 * mebibyte, async (device) => {
      const small = await restore(of(), '--disk', `b=${device}`);
      expect(small).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/has 4194304 bytes/) });
    });
    await nothingLeft();
  });

  it('never writes a device that somebody uses', async () => {
    await withDevice(10 * mebibyte, async (device) => {
      await output('mkfs.ext4', '-q', device);
      const mountpoint = join(work, 'mounted');
      await mkdir(mountpoint);
      await output('mount', '-t', 'ext4', device, mountpoint);
      try {
        const mounted = await restore(of(), '--disk', `b=${device}`, '--overwrite');
        expect(mounted).toMatchObject({ exitCode: 3, stderr: expect.stringMatching(/in use: mounted/) });
      } finally {
        await output('umount', mountpoint);
      }
      // As a VM has it: open for writing, by a program like any other.
      const holder = spawn('sh', ['-c', `exec 5<>${device}; echo held; exec sleep 600`]);
      try {
        await once(holder.stdout, 'data');
        const held = await restore(of(), '--disk', `b=${device}`, '--overwrite');
        const why = new RegExp(`in use by (sh|sleep) \\(${holder.pid}\\)`);
        expect(held).toMatchObject({ exitCode: 3, stderr: expect.stringMatching(why) });
      } finally {
        holder.kill('SIGKILL');
        await once(holder, 'close');
      }
      expect((await output('blkid', '-p', '-s', 'TYPE', '-o', 'value', device)).trim()).toBe('ext4');
    });
  });

  it('restores nothing of a damaged backup, and says where the damage is', async () => {
    const store = await copiedStore();
    // A byte of the data that lies in the parent: QEMU tells where.
    const parent = join(store, '100', first(), 'a.qcow2');
    const { stdout: map } = await execa('qemu-img', ['map', '--output=json', parent]);
    const rows: Array<{ start: number; length: number; offset?: number }> = JSON.parse(map);
    const place = 4 * mebibyte - 100;
    const row = rows.find(({ start, length }) => start <= place && place < start + length);
    if (row?.offset === undefined) throw new Error(`nothing is stored at ${place}`);
    await flip(parent, row.offset + place - row.start);
    const to = await fresh('damaged');
    const failed = await restore(`${store}:100`, '--to', to);
    expect(failed.exitCode).toBe(1);
    expect(failed.stderr).toMatch(/a of 100\/\S+, 3145728 to 4194303, is not what was backed up/);
    expect(await readdir(work)).not.toContain('damaged');

    const ignored = await restore(`${store}:100`, '--to', to, '--ignore-damage');
    expect(ignored).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/damaged in one place/) });
    expect(await differing(join(to, 'a.raw'), join(work, 'all', 'a.raw'))).toEqual([place]);
    expect(await sha256(join(to, 'b.raw'))).toBe(backups[1]?.hashes.b);
    await nothingLeft();
  });

  it.each([
    ['checksums', async (backup: string) => flip(join(backup, 'a.sums'), 70), /a\.sums is damaged/],
    ['missing checksums', async (backup: string) => rm(join(backup, 'a.sums')), /a\.sums is missing/],
    ['a description', async (backup: string) => truncate(join(backup, 'backup.json'), 100), /is no JSON/],
    [
      'a disk that was cut short',
      async (backup: string) => truncate(join(backup, 'b.qcow2'), 3 * 65_536),
      /b\.qcow2|b of 100/,
    ],
    ['a missing disk', async (backup: string) => rm(join(backup, 'b.qcow2')), /b\.qcow2/],
  ])('is not deceived by damage: %s', async (_what, damage, told) => {
    const store = await copiedStore();
    await damage(join(store, '100', second()));
    const to = await fresh('damaged');
    const { exitCode, stderr } = await restore(`${store}:100`, '--to', to);
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(told) });
    expect(await readdir(work)).not.toContain('damaged');
    // The disk that is whole can be had all the same.
    const ignored = await restore(`${store}:100`, '--to', to, '--ignore-damage');
    expect(ignored).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/damaged in/) });
    expect(await sha256(join(to, 'a.raw'))).toBe(backups[1]?.hashes.a);
    await nothingLeft();
  });

  it('leaves nothing behind when it is interrupted, and an unfinished device unmistakable', async () => {
    await withDevice(10 * mebibyte, async (device, file) => {
      const to = await fresh('interrupted');
      const args = ['restore', of(), '--to', to, '--disk', `b=${device}`, '--disk', 'a'];
      const child = execa(process.execPath, [command, ...args, '--bwlimit', '512K', '--json'], {
        reject: false,
        stdin: 'ignore',
        env: { TMPDIR: backedUp.temporary },
      });
      await heard(child, /"part":"b","done":[1-9]/);
      child.kill('SIGINT');
      const { exitCode, stderr } = await child;
      expect({ exitCode, stderr }).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/SIGINT/) });
      expect(await readdir(work)).not.toContain('interrupted');
      await output('blockdev', '--flushbufs', device);
      expect((await readFile(file)).subarray(0, mebibyte).equals(Buffer.alloc(mebibyte))).toBe(true);
    });
    await nothingLeft();
  });

  it('shares the backups with other readers, and waits for who changes them', async () => {
    const lock = join(backedUp.guestFolder, '.lock');
    const holder = spawn('flock', [lock, 'sh', '-c', 'echo held; read -r line']);
    const over = once(holder, 'close');
    await once(holder.stdout, 'data');
    const target = await fresh('locked');
    const busy = await restore(of(), '--disk', `b=${target}`);
    expect(busy).toMatchObject({ exitCode: 3, stderr: expect.stringMatching(/in use by .*--wait SECONDS/) });
    const waiting = restore(of(), '--disk', `b=${target}`, '--wait', '60');
    holder.stdin.end('\n');
    await over;
    expect((await waiting).exitCode).toBe(0);
    const reader = spawn('flock', ['--shared', lock, 'sh', '-c', 'echo held; read -r line']);
    await once(reader.stdout, 'data');
    const shared = await restore(of(), '--disk', `b=${target}`, '--overwrite');
    expect(shared.exitCode, shared.stderr).toBe(0);
    reader.stdin.end('\n');
    await once(reader, 'close');
  });

  it.each([
    ['no target', () => [of()], 2, /--to DIR/],
    ['a disk without a target', () => [of(), '--disk', 'a'], 2, /--disk NAME=TARGET/],
    ['no guest', () => [`${backedUp.store}/`, '--to', 'x'], 2, /expected STORE:GUEST/],
    ['a guest that is not there', () => [`${backedUp.store}:7`, '--to', 'x'], 1, /no such guest/],
    ['a backup that is not there', () => [of('20200101T000000Z'), '--to', 'x'], 1, /latest is/],
    ['a disk that is not there', () => [of(), '--disk', 'c=/tmp/c'], 1, /no disk c; its disks: a, b/],
    ['one target of two', () => [of(), '--disk', 'a=/tmp/c', '--disk', 'b=/tmp/c'], 1, /both become/],
    ['a folder that is not there', () => [of(), '--disk', 'a=/nowhere/a'], 1, /\/nowhere.*no such folder/],
  ])('says what is wrong: %s', async (_what, args, exitCode, told) => {
    const [address = '', ...options] = args();
    const ended = await restore(address, ...options);
    expect(ended).toMatchObject({ exitCode, stderr: expect.stringMatching(told) });
  });
});
