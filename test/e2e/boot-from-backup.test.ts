import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BackedUpGuest } from '../backups/backed-up-guest.js';
import { marked, writeMarked } from '../machine/known-writes.js';
import { devicePath, Machine } from '../machine/machine.js';
import { type Run, run } from './command-line.js';
import { guestSha256 } from './increments.js';
import { output, ServedMount, sha256 } from './served-mount.js';

const mebibyte = 2 ** 20;
const sizes = { a: 32 * mebibyte, b: 8 * mebibyte + 4608 };
const script = fileURLToPath(new URL('../../scripts/boot-from-backup', import.meta.url));

describe('a VM that is booted from its backup', () => {
  let backedUp: BackedUpGuest;
  let mount: ServedMount;
  let hashes: Record<string, string>;
  let images: string;
  let machine: Machine | undefined;

  beforeAll(async () => {
    backedUp = await BackedUpGuest.make({
      agent: false,
      disks: [
        { id: 'a', bytes: sizes.a, filesystem: 'ext4' },
        { id: 'b', bytes: sizes.b },
      ],
    });
    await backedUp.guest.mount();
    const lost = backedUp.guest.machine;
    await lost.output(`mkdir -p /run/mnt/a && mount ${devicePath('a')} /run/mnt/a`);
    await lost.output('seq 400000 >/run/mnt/a/numbers && umount /run/mnt/a');
    await backedUp.backup();
    // The increment is what is booted: its disks are chains.
    await writeMarked(lost, 'b', mebibyte, 3 * mebibyte, 'increment');
    hashes = await backedUp.guestHashes();
    await backedUp.backup();
    await backedUp.guest.end();
    await lost.remove();
    await writeFile(join(backedUp.guest.images, 'a.qcow2'), 'strange');

    images = join(backedUp.guest.folder, 'restored');
    mount = new ServedMount(join(backedUp.guest.folder, 'backups'));
    await mkdir(mount.folder);
    await mkdir(mount.mountpoint);
    await mount.serve(['--store', `nightly=${backedUp.store}`]);
  });
  afterAll(async () => {
    await machine?.remove();
    await mount?.end();
    await backedUp?.remove();
  });

  /** Boots a machine by the script, with its disks at so many bytes a second. */
  const boot = async (speed: number): Promise<Machine> => {
    const backup = join(mount.mountpoint, 'backups', 'nightly', '100', 'latest');
    const command = [script, '--speed', String(speed), backup, images, '--'];
    machine = await Machine.start({ agent: false, launcher: { command, disks: ['a', 'b'] } });
    return machine;
  };
  const jobs = async (running: Machine): Promise<unknown[]> =>
    (await running.qmp('query-block-jobs')) as unknown[];
  const backingFile = async (disk: string): Promise<string | undefined> => {
    const { stdout } = await execa('qemu-img', [
      'info',
      '-U',
      '--output=json',
      join(images, `${disk}.qcow2`),
    ]);
    return JSON.parse(stdout)['backing-filename'];
  };

  it('has its disks at once, long before they are restored', async () => {
    const running = await boot(1024);
    expect(await guestSha256(running, 'a')).toBe(hashes.a);
    expect(await guestSha256(running, 'b')).toBe(hashes.b);
    expect(await jobs(running)).toHaveLength(2);
    expect(await backingFile('a')).toMatch(/\/backups\/nightly\/100\/\d{8}T\d{6}Z\/disks\/a\.raw$/);
  });

  it('keeps what it has written when it ends too early, and goes on where it was', async () => {
    const before = machine;
    if (!before) throw new Error('nothing was booted');
    await before.output(`mkdir -p /run/mnt/a && mount ${devicePath('a')} /run/mnt/a`);
    await before.output('echo since >/run/mnt/a/since && umount /run/mnt/a');
    await writeMarked(before, 'b', 5 * mebibyte, mebibyte, 'since');
    const { errors } = await before.quit();
    expect(errors).toMatch(/ended before its disks were complete.*the same command goes on/);
    await before.remove();

    const running = await boot(0);
    await running.monitor.first('BLOCK_JOB_COMPLETED', ({ device }) => device === 'boot0');
    await running.monitor.first('BLOCK_JOB_COMPLETED', ({ device }) => device === 'boot1');
    for (const disk of ['a', 'b']) expect(await backingFile(disk)).toBeUndefined();
  });

  it('needs neither the mount nor the store when its disks are complete', async () => {
    if (!machine) throw new Error('nothing was booted');
    await expect.poll(() => machine?.errors).toMatch(/all disks are complete/);
    expect(await mount.end()).toBe(0);
    await machine.output(`mkdir -p /run/mnt/a && mount ${devicePath('a')} /run/mnt/a`);
    expect(await machine.output('cat /run/mnt/a/since')).toBe('since\n');
    const { stdout: numbers } = await execa('sh', ['-c', 'seq 400000 | sha256sum']);
    expect((await machine.output('sha256sum </run/mnt/a/numbers')).slice(0, 64)).toBe(numbers.slice(0, 64));
    await machine.output('umount /run/mnt/a');
    const last = { a: await guestSha256(machine, 'a'), b: await guestSha256(machine, 'b') };
    await machine.quit();
    for (const disk of ['a', 'b'] as const) {
      const [image, raw] = [join(images, `${disk}.qcow2`), join(images, `${disk}.raw`)];
      await output('qemu-img', 'check', '-q', image);
      await output('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', image, raw);
      expect(await sha256(raw), disk).toBe(last[disk]);
    }
    const b = await readFile(join(images, 'b.raw'));
    const wanted = Buffer.alloc(sizes.b);
    marked('increment', 3 * mebibyte).copy(wanted, mebibyte);
    marked('since', mebibyte).copy(wanted, 5 * mebibyte);
    expect(b.equals(wanted)).toBe(true);
  });

  it('does not boot disks that are something else', async () => {
    const backup = join(backedUp.guestFolder, (await backedUp.backups())[0] ?? '');
    await mkdir(join(backup, 'disks'));
    await writeFile(join(backup, 'disks', 'a.raw'), '');
    const start = (folder: string): Promise<Run> => run(script, [backup, folder, '--', 'false']);
    const others = await start(images);
    expect(others).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/holds disks of .*nightly/) });
    const strange = await start(backedUp.guest.images);
    expect(strange).toMatchObject({
      exitCode: 1,
      stderr: expect.stringMatching(/a\.qcow2 is there already/),
    });
  });
});
