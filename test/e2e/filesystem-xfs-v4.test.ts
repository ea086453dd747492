import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Churn } from '../corpus/churn.js';
import { guestTrees } from '../corpus/guest-trees.js';
import { withLoopMount } from '../filesystems/loop-mount.js';
import { MountedImage } from '../filesystems/mounted-image.js';
import { Machine } from '../machine/machine.js';
import { makeDisk } from '../machine/machine-disk.js';
import { compareTrees, type Difference } from '../tree-comparison/compare-trees.js';
import { output } from './served-mount.js';

const mebibyte = 1024 * 1024;
// This host's kernel reads version 5 alone: version 4 is written by that of a guest.
const additions = { programs: ['/bin/tar'], modules: ['xfs'] };
const disks = ['source', 'small', 'anycase', 'crashed'] as const;
type TestDisk = (typeof disks)[number];

const formats: Readonly<Record<Exclude<TestDisk, 'source'>, readonly string[]>> = {
  small: ['-b', 'size=512', '-i', 'size=256', '-n', 'size=4096,ftype=0', '-l', 'version=1'],
  anycase: ['-b', 'size=1024', '-i', 'size=512,attr=2', '-n', 'version=ci,ftype=1'],
  crashed: ['-b', 'size=1024'],
};

const unpack = (disk: TestDisk): string => `
mkdir -p /run/${disk}; mount -t xfs $(readlink /dev/disk/${disk}) /run/${disk}
/sbin/tar -C /run/source --numeric-owner --xattrs '--xattrs-include=*' --acls --sparse --exclude=large-numbers -cf - . |
  /sbin/tar -C /run/${disk} --numeric-owner --xattrs '--xattrs-include=*' --acls -xpf -
`;

describe('an XFS file system of version 4', () => {
  let folder: string;
  const file = (name: string): string => join(folder, name);

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'stillfs-xfs-v4-'));
    await makeDisk(file('source'), 400 * mebibyte, { filesystem: 'ext4' });
    await withLoopMount(file('source'), 'ext4', 'rw', async ({ mountpoint }) => {
      await guestTrees.odd(mountpoint, false);
      mkdirSync(join(mountpoint, 'churn'));
      new Churn(join(mountpoint, 'churn'), 3).run(500);
      mkdirSync(join(mountpoint, 'large'));
      for (let each = 0; each < 900; each++)
        writeFileSync(join(mountpoint, 'large', `${each}-${'n'.repeat(each % 60)}`), '');
    });
    for (const [name, options] of Object.entries(formats)) {
      await writeFile(file(name), '');
      await truncate(file(name), 400 * mebibyte);
      await output('mkfs.xfs', '-q', '-f', '-m', 'crc=0', ...options, file(name));
    }
    const machine = await Machine.start({
      additions,
      agent: false,
      disks: disks.map((id) => ({ id, file: file(id) })),
    });
    try {
      await machine.output(`set -e
        mkdir -p /run/source; mount -o ro $(readlink /dev/disk/source) /run/source
        ${unpack('small')} umount /run/small
        ${unpack('anycase')} umount /run/anycase
        ${unpack('crashed')} sync
        cd /run/crashed; mv large smaller; rm -rf smaller/1* churn/folder-1*; cp -a names again; sync
        mkdir not-in-the-log; rm -rf links`);
      await machine.kill();
    } finally {
      await machine.remove();
    }
  }, 180_000);
  afterAll(() => rm(folder, { recursive: true }));

  it.each(['small', 'anycase'] as const)('shows what the guest put there: %s', async (disk) => {
    const found = await withLoopMount(file('source'), 'ext4', 'ro', async (source) => {
      const ours = await MountedImage.start('xfs', file(disk));
      try {
        expect(ours.problems).toEqual([]);
        return await compareTrees(source.mountpoint, ours.mountpoint);
      } finally {
        await ours.stop();
      }
    });
    expect(found.filter((difference) => !isUnheld(difference))).toEqual([]);
  });

  it('finds names in any case where it was made so', async () => {
    const ours = await MountedImage.start('xfs', file('anycase'));
    try {
      const shown = ['NAMES/PLAIN', 'large/7-NNNNNNN', `Large/899-${'n'.repeat((899 % 60) - 2)}NN`];
      expect(shown.map((name) => existsSync(ours.path(name)))).toEqual([true, true, true]);
      expect(existsSync(ours.path('NAMES/PLAYN'))).toBe(false);
    } finally {
      await ours.stop();
    }
  });

  it('shows what the guest does after its recovery', async () => {
    await output('cp', '--sparse=always', file('crashed'), file('recovered'));
    const machine = await Machine.start({
      additions,
      agent: false,
      disks: [{ id: 'recovered', file: file('recovered') }],
    });
    try {
      await machine.output(
        'mkdir /run/it; mount -t xfs $(readlink /dev/disk/recovered) /run/it && umount /run/it',
      );
      await machine.powerdown();
    } finally {
      await machine.remove();
    }
    const recovered = await MountedImage.start('xfs', file('recovered'));
    const ours = await MountedImage.start('xfs', file('crashed'));
    try {
      const all = { holes: 'same', folders: 'same', inodes: 'same' } as const;
      expect(await compareTrees(recovered.mountpoint, ours.mountpoint, all)).toEqual([]);
      expect(existsSync(ours.path('again', 'plain'))).toBe(true);
      expect([...recovered.problems, ...ours.problems]).toEqual([]);
    } finally {
      await ours.stop();
      await recovered.stop();
    }
  }, 120_000);
});

/**
 * XFS has devices of 9 and 18 bits, and no folder of such a name; times of version 4 end in 2038. GNU tar keeps no sockets
 * and no second names of fifos.
 */
const isUnheld = ({ path, aspect }: Difference): boolean =>
  ['nodes/large-numbers', 'nodes/socket'].includes(path) ||
  (aspect === 'links' && path.startsWith('nodes/fifo')) ||
  path === 'lost+found' ||
  (aspect === 'modified' && /^times\/(last-32-bit|2038|2107|2400)$/.test(path));
