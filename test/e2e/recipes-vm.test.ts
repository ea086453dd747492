import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { devicePath } from '../machine/machine.js';
import { follow, recipe } from '../recipe.js';
import { guestSha256 } from './increments.js';
import { MountedGuest } from './mounted-guest.js';
import { output, sha256 } from './served-mount.js';

const mebibyte = 2 ** 20;
const disk = 'disk';
const snapshot = 'nightly@last';
/** What keeps one copy, or archives, of which the second builds on the first. */
const repeated = ['rsync', 'ddrescue', 'tar', 'borg', 'restic'] as const;

describe('the recipes for disks of VMs', () => {
  let guest: MountedGuest;
  let today = '';
  const folders = (tool: string) => ({
    SNAPSHOT: guest.path(snapshot),
    KEEP: join(guest.folder, 'keep', tool),
    WORK: join(guest.folder, 'work', tool),
    DISK: disk,
  });
  const following = async (tool: string, step: number): Promise<string> =>
    follow((await recipe('VM disks', tool))[step], folders(tool), guest.folder);
  const isToday = async (copy: string): Promise<void> => expect(await sha256(copy)).toBe(today);

  beforeAll(async () => {
    guest = await MountedGuest.make({
      agent: false,
      disks: [{ id: disk, bytes: 24 * mebibyte, format: 'qcow2', filesystem: 'ext4' }],
    });
    await guest.mount();
    const { machine } = guest;
    await machine.output(
      `mkdir -p /run/mnt && mount ${devicePath(disk)} /run/mnt && seq 30000 >/run/mnt/yesterday`,
    );
    await machine.output('sync; fsfreeze --freeze /run/mnt');
    await guest.take(snapshot);
    await machine.output('fsfreeze --unfreeze /run/mnt');
    for (const tool of ['cp', 'dd', 'qemu-img convert', ...repeated, 'losetup'])
      for (const folder of [folders(tool).KEEP, folders(tool).WORK]) await mkdir(folder, { recursive: true });
    await following('rsync', 0);
    await following('ddrescue', 0);
    await copyFile(join(folders('ddrescue').KEEP, `${disk}.raw`), join(folders('tar').KEEP, `${disk}.raw`));
    for (const tool of ['borg', 'restic']) for (const step of [0, 1]) await following(tool, step);
    await guest.finish(snapshot, 'success');

    await machine.output(
      'seq 10000 45000 >/run/mnt/today; rm /run/mnt/yesterday; dd if=/dev/zero of=/run/mnt/zeros bs=64k count=4; sync',
    );
    await machine.output('sync; fsfreeze --freeze /run/mnt');
    today = await guestSha256(machine, disk);
    await guest.take(snapshot);
    await machine.output('fsfreeze --unfreeze /run/mnt');
    // The guest goes on.
    await machine.output('seq 50000 90000 >/run/mnt/later; sync');
  });
  afterAll(() => guest?.remove());

  it.each(['cp', 'dd'])('%s', async (tool) => {
    await following(tool, 0);
    await isToday(join(folders(tool).KEEP, `${disk}.raw`));
  });

  it('qemu-img convert', async () => {
    await following('qemu-img convert', 0);
    const { KEEP, WORK } = folders('qemu-img convert');
    await output('qemu-img', 'convert', '-O', 'raw', join(KEEP, `${disk}.qcow2`), join(WORK, 'raw'));
    await isToday(join(WORK, 'raw'));
  });

  it('rsync, upon the copy of yesterday', async () => {
    await following('rsync', 0);
    await isToday(join(folders('rsync').KEEP, `${disk}.raw`));
  });

  it('ddrescue, which reads what has changed, and refuses a copy that the changes are not relative to', async () => {
    const { KEEP } = folders('ddrescue');
    await following('ddrescue', 1);
    await isToday(join(KEEP, `${disk}.raw`));
    await expect(following('ddrescue', 1)).rejects.toThrow(/not relative to the copy/);
  });

  it('tar, of the changes, applied to the copy of yesterday', async () => {
    await following('tar', 0);
    await following('tar', 1);
    await isToday(join(folders('tar').KEEP, `${disk}.raw`));
  });

  it.each(['borg', 'restic'])('%s, a second time', async (tool) => {
    await following(tool, 1);
    await following(tool, 2);
    await isToday(join(folders(tool).WORK, 'disks', `${disk}.raw`));
  });

  it('losetup', async () => {
    const listed = await following('losetup', 0);
    expect(listed.split('\n')).toEqual(['lost+found', 'today', 'zeros']);
    expect(await output('losetup', '--list', '--noheadings', '--output', 'BACK-FILE')).not.toContain(
      guest.folder,
    );
  });
});
