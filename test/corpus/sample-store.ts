import {
  chmod,
  cp,
  mkdir,
  mkdtemp,
  readFile,
  rm,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';

/** Bytes of the sample's disk `drive-scsi0`; an ext4 file system fills all but its last quarter. */
export const systemDiskSize = 64 * 1024 * 1024;

/** The backups of the sample's guest 100, by the names of their folders in the store. */
export const sample = {
  full: 'qemu-1731491839', // 2024-11-13T09:57:19Z
  increment: 'qemu-1731578239', // a day later
  iso: '20241115T095719Z',
  extended: '2024-11-16T09:57:19Z',
  failed: 'qemu-1731837439.failed',
  container: 'lxc-1731495600',
} as const;

/**
 * Makes a small store: guest 100 with a full backup and an increment upon it (qcow2 with a backing file, and a raw disk),
 * guest 101 with folders named by ISO times and a disk of another format, the container 200 with a folder.
 */
export async function makeSampleStore(store: string): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), 'stillfs-sample-'));
  try {
    await makeGuest(store, work);
    await makeIsoGuest(store);
    await makeContainer(store);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function makeGuest(store: string, work: string): Promise<void> {
  const guest = join(store, '100');
  const full = join(guest, sample.full);
  const increment = join(guest, sample.increment);
  await Promise.all(
    [full, increment, join(guest, sample.failed)].map((path) => mkdir(path, { recursive: true })),
  );

  const contents = join(work, 'contents');
  await mkdir(join(contents, 'etc'), { recursive: true });
  await mkdir(join(contents, 'home'));
  await writeFile(join(contents, 'etc/hostname'), 'web\n');
  await writeFile(join(contents, 'home/invoice.txt'), 'total: 100\n');
  await writeFile(join(contents, 'home/data.bin'), pattern(3 * 1024 * 1024));
  const monday = join(work, 'monday.raw');
  await writeFile(monday, '');
  await truncate(monday, systemDiskSize);
  await execa('mke2fs', ['-q', '-t', 'ext4', '-d', contents, monday, '48M'], { env: withSystemTools() });

  // On the next day a file was added, and something was written and something zeroed behind the file system.
  const tuesday = join(work, 'tuesday.raw');
  await cp(monday, tuesday);
  await writeFile(join(work, 'report.txt'), 'written on Tuesday\n');
  await execa('debugfs', ['-w', '-R', `write ${join(work, 'report.txt')} report.txt`, tuesday], {
    env: withSystemTools(),
  });

  const base = join(full, 'drive-scsi0.qcow2');
  await execa('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', monday, base]);
  await execa('qemu-io', ['-f', 'qcow2', '-c', 'write -P 0x11 56M 1M', base]);
  const overlay = join(increment, 'drive-scsi0.qcow2');
  const backing = `../${sample.full}/drive-scsi0.qcow2`;
  await execa('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', backing, '-F', 'qcow2', overlay], {
    cwd: increment,
  });
  await writeDifference(monday, tuesday, overlay, work);
  await execa('qemu-io', ['-f', 'qcow2', '-c', 'write -P 0x22 60M 128k', '-c', 'write -z 56M 256k', overlay]);

  for (const [folder, filled] of [
    [full, 0x33],
    [increment, 0x44],
  ] as const) {
    const data = join(folder, 'drive-scsi1.raw');
    await writeFile(data, Buffer.alloc(1024 * 1024, filled));
    await truncate(data, 8 * 1024 * 1024);
    await writeFile(
      join(folder, 'guest.conf'),
      'name: web\nmemory: 2048\nscsi0: local:vm-100-disk-0,size=64M\n',
    );
    await writeFile(join(folder, 'firewall.conf'), '[OPTIONS]\nenable: 1\n');
    await writeFile(join(folder, 'backup.log'), 'INFO: backup finished\n');
  }
  await writeFile(join(guest, sample.failed, 'backup.log'), 'ERROR: no space left\n');
  await writeFile(join(guest, 'previous-info'), 'bitmap-1 1731578239\n');
}

/** Writes to an image the 64 KiB clusters in which one raw file differs from another. */
async function writeDifference(before: string, after: string, image: string, work: string): Promise<void> {
  const cluster = 65_536;
  const [old, recent] = await Promise.all([readFile(before), readFile(after)]);
  const source = join(work, 'cluster');
  for (let at = 0; at < recent.length; at += cluster) {
    const bytes = recent.subarray(at, at + cluster);
    if (bytes.equals(old.subarray(at, at + cluster))) continue;
    await writeFile(source, bytes);
    await execa('qemu-io', ['-f', 'qcow2', '-c', `write -s ${source} ${at} ${cluster}`, image]);
  }
}

async function makeIsoGuest(store: string): Promise<void> {
  const guest = join(store, '101');
  const [first, second] = [join(guest, sample.iso), join(guest, sample.extended)];
  await mkdir(join(first, 'disks'), { recursive: true });
  await mkdir(second, { recursive: true });
  const disk = join(first, 'disks', 'vda.raw');
  await writeFile(disk, pattern(256 * 1024));
  await truncate(disk, 4 * 1024 * 1024);
  await execa('qemu-img', ['convert', '-f', 'raw', '-O', 'vmdk', disk, join(second, 'vda.vmdk')]);
  await writeFile(join(first, 'guest.conf'), 'name: files\n');
}

async function makeContainer(store: string): Promise<void> {
  const backup = join(store, '200', sample.container);
  const rootfs = join(backup, 'rootfs');
  await mkdir(join(rootfs, 'etc'), { recursive: true });
  await mkdir(join(rootfs, 'usr/bin'), { recursive: true });
  await writeFile(join(backup, 'guest.conf'), 'arch: amd64\nhostname: shelf\n');
  await writeFile(join(rootfs, 'etc/hostname'), 'shelf\n');
  await writeFile(join(rootfs, 'usr/bin/hello'), '#!/bin/sh\necho hello\n');
  await chmod(join(rootfs, 'usr/bin/hello'), 0o4755);
  await symlink('usr/bin', join(rootfs, 'bin'));
  await utimes(join(rootfs, 'etc/hostname'), 1_731_495_000, 1_731_495_000);
}

/** Bytes that repeat nowhere in a cluster, so that one in the wrong place shows. */
function pattern(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at + 4 <= length; at += 4) bytes.writeUInt32LE((at * 2654435761) % 4294967296, at);
  return bytes;
}

/** mke2fs and debugfs lie where an ordinary user's PATH does not lead. */
function withSystemTools(): { PATH: string } {
  return { PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` };
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  const target = argv[2];
  if (!target) throw new Error('say which folder the store is to be made in');
  await makeSampleStore(target);
}
