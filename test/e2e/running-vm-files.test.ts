import { mkdir, mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { guestTrees, makeSmallFiles } from '../corpus/guest-trees.js';
import { withLoopMount } from '../filesystems/loop-mount.js';
import { devicePath } from '../machine/machine.js';
import { compareTrees, type Difference } from '../tree-comparison/compare-trees.js';
import { MountedGuest } from './mounted-guest.js';
import { output } from './served-mount.js';

const mebibyte = 2 ** 20;
const bytes = { sys: 200 * mebibyte, more: 420 * mebibyte, out: 256 * mebibyte };
/** Where the volumes lie, in extents of a mebibyte: the root begins on one disk and ends on the other. */
const extents = { rootOnSys: 150, rootOnMore: 50, home: 308, swap: 8 };
const efiMebibytes = 32;
const efiUuid = 'ABCD-1234';
const homeUuid = '1c0ffee1-0000-4000-8000-000000000001';

/** As Debian's installer writes it: each volume is named in a way of its own. */
const fstab = `
# <file system>       <mount point> <type> <options>          <dump> <pass>
/dev/mapper/vm--0-root /            ext4   errors=remount-ro  0      1
UUID=${homeUuid}       /home        xfs    defaults           0      2
UUID=${efiUuid}        /boot/efi    vfat   umask=0077         0      1
/dev/vm-0/swap         none         swap   sw                 0      0
tmpfs                  /tmp         tmpfs  defaults           0      0
`;

const configure = `
mkdir -p /etc/lvm; cat >/etc/lvm/lvm.conf <<END
activation { udev_sync=0 udev_rules=0 monitoring=0 }
devices { obtain_device_list_from_udev=0 use_devicesfile=0 scan="/dev" }
global { use_lvmlockd=0 use_lvmpolld=0 }
backup { backup=0 archive=0 }
END
export LVM_SUPPRESS_FD_WARNINGS=1`;

/** The root lies on one disk and goes on on the other; home is on the other; the EFI partition is beside them. */
const makeVolumes = `${configure}
set -e
sys=$(readlink ${devicePath('sys')})2; more=$(readlink ${devicePath('more')})
cat >/run/commands <<END
#!/sbin/lvm
pvcreate --dataalignment 1m $sys $more
vgcreate -s 1m vm-0 $sys $more
lvcreate -an -y -Wn -Zn -n home -l ${extents.home} vm-0 $more:0-${extents.home - 1}
lvcreate -an -y -Wn -Zn -n root -l ${extents.rootOnSys} vm-0 $sys:0-${extents.rootOnSys - 1}
lvextend -l +${extents.rootOnMore} vm-0/root $more:${extents.home}-${extents.home + extents.rootOnMore - 1}
lvcreate -an -y -Wn -Zn -n swap -l ${extents.swap} vm-0 $more
END
lvm /run/commands >/dev/null
sync
`;

const mountAll = `${configure}
set -e
lvm vgchange -ay vm-0 >/dev/null
mkswap /dev/vm-0/swap >/dev/null
mkdir -p /run/guest
mount -t ext4 /dev/vm-0/root /run/guest
mount -t xfs /dev/vm-0/home /run/guest/home
mount -t vfat -o utf8 $(readlink ${devicePath('sys')})1 /run/guest/boot/efi
`;

const changes = `set -e
cd /run/guest
mkdir srv/changed; cp -a etc/. srv/changed/
rm -r etc/default
echo later >etc/hostname
for i in $(seq 1 100); do echo "mail $i" >home/mail-$i; done
rm home/mail-1*
ln home/mail-2 home/linked
dd if=/dev/urandom of=home/large bs=1M count=9 2>/dev/null
echo efi >boot/efi/EFI/debian/new.cfg
# The agent can't freeze FAT.
sync
`;

describe('a VM with LVM over two disks, /home on XFS and an EFI partition', () => {
  let guest: MountedGuest;
  let work: string;

  /** What the guest tars of itself while nobody writes, extracted here. */
  async function toldByGuest(name: string): Promise<string> {
    // How XFS itself stores an ACL is no attribute of the file's.
    const xattrs = "--acls --xattrs '--xattrs-include=*' '--xattrs-exclude=trusted.SGI_ACL_*'";
    const tar = `/sbin/tar --sparse ${xattrs} --numeric-owner --format=posix`;
    await guest.machine.output(`sync; ${tar} -C /run/guest -cf ${devicePath('out')} .; sync`);
    const folder = join(work, name);
    await mkdir(folder);
    const options = ['--acls', '--xattrs', '--xattrs-include=*', '--numeric-owner', '-xpf'];
    await output('tar', '-C', folder, ...options, guest.image('out'));
    return folder;
  }

  /** A backup of a snapshot as a provider makes it: each disk as qcow2, upon the one before. */
  async function backUp(snapshot: string, folder: string, parent?: string): Promise<void> {
    await mkdir(join(work, 'store/100', folder), { recursive: true });
    for (const disk of ['sys', 'more']) {
      const upon = parent ? ['-B', `../${parent}/${disk}.qcow2`, '-F', 'qcow2'] : [];
      await output(
        ...(['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', ...upon] as const),
        guest.path(snapshot, 'disks', `${disk}.raw`),
        join(work, 'store/100', folder, `${disk}.qcow2`),
      );
    }
  }

  const compared = (told: string, rootfs: string): Promise<Difference[]> => compareTrees(told, rootfs);

  beforeAll(async () => {
    work = await mkdtemp(join(tmpdir(), 'stillfs-guest-files-'));
    await mkdir(join(work, 'store'));
    const more = {
      programs: ['/sbin/lvm', '/usr/bin/tar'],
      modules: ['dm-mod', 'xfs', 'vfat', 'nls_cp437', 'nls_ascii'],
    };
    guest = await MountedGuest.make({
      disks: (['sys', 'more', 'out'] as const).map((id) => ({ id, bytes: bytes[id] })),
      additions: more,
    });
    await partition(guest.image('sys'), work);
    // The kernel of the guest has looked at the empty disk already.
    await guest.machine.output(`blockdev --rereadpt ${devicePath('sys')}`);
    await guest.machine.output(makeVolumes);
    await fillVolumes(guest, work);
    await guest.machine.output(mountAll);
    await guest.mount([], {}, ['--store', `store=${join(work, 'store')}`]);
  }, 240_000);

  afterAll(async () => {
    await guest?.remove();
    await rm(work, { recursive: true, force: true });
  });

  it('is shown as it sees itself: from a live snapshot, from a full backup, from a chain', async () => {
    await guest.take('first');
    const told = await toldByGuest('told-first');
    expect(await compared(told, guest.path('first', 'rootfs'))).toEqual([]);
    await backUp('first', 'qemu-1700000000');
    await guest.finish('first');

    await guest.machine.output(changes);
    await guest.take('second');
    const later = await toldByGuest('told-second');
    expect(await compared(later, guest.path('second', 'rootfs'))).toEqual([]);
    expect(await readFile(guest.path('second', 'rootfs/etc/hostname'), 'utf8')).toBe('later\n');
    await backUp('second', 'qemu-1700003600', 'qemu-1700000000');
    await guest.finish('second');

    const stored = (time: string): string => join(guest.mountpoint, 'backups/store/100', time);
    expect(await compared(told, join(stored('20231114T221320Z'), 'rootfs'))).toEqual([]);
    expect(await compared(later, join(stored('latest'), 'rootfs'))).toEqual([]);
  }, 240_000);

  it('has each file system under files/ too, and what holds none in volumes.json', async () => {
    const backup = join(guest.mountpoint, 'backups/store/100/latest');
    const { volumes } = JSON.parse(await readFile(join(backup, 'volumes.json'), 'utf8'));
    expect(volumes).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ volume: 'sys/part/1', content: 'vfat', uuid: efiUuid }),
        expect.objectContaining({ volume: 'sys/part/2', content: 'LVM2_member' }),
        expect.objectContaining({ volume: 'lvm/vm-0/root', content: 'ext4' }),
        expect.objectContaining({ volume: 'lvm/vm-0/home', content: 'xfs', uuid: homeUuid }),
        expect.objectContaining({ volume: 'lvm/vm-0/swap', content: 'swap', read: false }),
      ]),
    );
    const hostname = await readFile(join(backup, 'files/lvm/vm-0/root/etc/hostname'), 'utf8');
    expect(hostname).toBe('later\n');
    expect((await stat(join(backup, 'files/sys/part/1/EFI/debian'))).isDirectory()).toBe(true);
    await expect(stat(join(backup, 'PROBLEM.txt'))).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

/** Writes what the volumes hold into their extents: everything that a file can be on ext4, and many small files on XFS. */
async function fillVolumes(guest: MountedGuest, work: string): Promise<void> {
  const { rootOnSys, rootOnMore, home } = extents;
  const root = await image(join(work, 'root'), rootOnSys + rootOnMore);
  await output('mkfs.ext4', '-q', root);
  await withLoopMount(root, 'ext4', 'rw', async ({ mountpoint }) => {
    for (const folder of ['home', 'boot/efi', 'srv/odd', 'usr', 'var', 'bin', 'tmp'])
      await mkdir(join(mountpoint, folder), { recursive: true });
    await output('cp', '-a', '/etc', mountpoint);
    await guestTrees.odd(join(mountpoint, 'srv/odd'), false);
    // What tar, by which the guest tells of itself, can't hold.
    for (const name of ['socket', 'fifo-again']) await rm(join(mountpoint, 'srv/odd/nodes', name));
    await writeFile(join(mountpoint, 'etc/fstab'), fstab);
    await writeFile(join(mountpoint, 'etc/hostname'), 'first\n');
  });
  const users = await image(join(work, 'home'), home);
  await output('mkfs.xfs', '-q', '-m', `uuid=${homeUuid}`, users);
  await withLoopMount(users, 'xfs', 'rw', async ({ mountpoint }) => makeSmallFiles(mountpoint, 1000));
  // The first extent of a physical volume is its second mebibyte.
  const onSys = 1 + efiMebibytes + 1;
  await copy(root, 0, guest.image('sys'), onSys, rootOnSys);
  await copy(root, rootOnSys, guest.image('more'), 1 + home, rootOnMore);
  await copy(users, 0, guest.image('more'), 1, home);
}

async function image(path: string, mebibytes: number): Promise<string> {
  await writeFile(path, '');
  await truncate(path, mebibytes * mebibyte);
  return path;
}

/** Copies mebibytes from one image to another. */
async function copy(from: string, skip: number, to: string, seek: number, count: number): Promise<void> {
  const places = [`skip=${skip}`, `seek=${seek}`, `count=${count}`, 'bs=1M'];
  await output('dd', `if=${from}`, `of=${to}`, ...places, 'conv=notrunc,sparse', 'status=none');
}

/** A GPT with an EFI partition, which has some files, and room for a physical volume. */
async function partition(disk: string, work: string): Promise<void> {
  const table = join(work, 'table');
  await writeFile(
    table,
    `label: gpt\nsize=${efiMebibytes}MiB, type=U\ntype=E6D6D379-F507-44C2-A23C-238F2A3DF928\n`,
  );
  await output('sh', '-c', 'sfdisk --quiet "$1" < "$2"', 'sh', disk, table);
  const efi = await image(join(work, 'efi'), efiMebibytes);
  const files = join(work, 'efi-files');
  await mkdir(join(files, 'EFI/debian'), { recursive: true });
  await writeFile(join(files, 'EFI/debian/A long name of a file.cfg'), 'set root\n');
  await writeFile(join(files, 'EFI/debian/shimx64.efi'), Buffer.alloc(900_000, 'shim'));
  await output('mkfs.fat', '-i', efiUuid.replace('-', ''), efi);
  await output('mcopy', '-s', '-i', efi, join(files, 'EFI'), '::');
  await copy(efi, 0, disk, 1, efiMebibytes);
}
