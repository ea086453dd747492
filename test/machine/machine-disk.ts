import { execFile } from 'node:child_process';
import { rename, truncate, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** One disk of a machine, and how QEMU is told of it. */
export interface MachineDisk {
  /**
   * QEMU's id of the device (`/machine/peripheral/ID`), the disk's serial number, and `/dev/disk/ID` in the guest. As
   * with Proxmox VE, the drive or node is called `drive-ID`. At most 20 letters, digits and hyphens.
   */
  readonly id: string;
  readonly file: string;
  /** Default: raw. */
  readonly format?: 'raw' | 'qcow2';
  /** Default: virtio-blk. */
  readonly bus?: DiskBus;
  /** Whether the disk has an I/O thread of its own (virtio only). Default: not. */
  readonly iothread?: boolean;
  /** The option that names the image: nodes given with `-drive` have made-up names (`#block123`). Default: blockdev. */
  readonly way?: 'blockdev' | 'drive';
}

export type DiskBus = 'virtio-blk' | 'virtio-scsi' | 'nvme' | 'ide';

/** The modules that the guest needs for a bus. */
export const modulesOfBus: Readonly<Record<DiskBus, readonly string[]>> = {
  'virtio-blk': ['virtio_blk'],
  'virtio-scsi': ['virtio_scsi', 'sd_mod'],
  nvme: [],
  ide: ['ata_piix', 'sd_mod'],
};

/** QEMU's arguments for these disks. */
export function diskArguments(disks: readonly MachineDisk[]): string[] {
  return [
    ...(disks.some(sharesController) ? ['-device', 'virtio-scsi,id=scsi'] : []),
    ...disks.flatMap(oneDisk),
  ];
}

function oneDisk(disk: MachineDisk): string[] {
  if (!/^[A-Za-z][A-Za-z0-9-]{0,19}$/.test(disk.id)) throw new Error(`"${disk.id}" can't be a disk's id`);
  const thread = disk.iothread ? `,iothread=thread-${disk.id}` : '';
  return [
    ...image(disk),
    ...(disk.iothread ? ['-object', `iothread,id=thread-${disk.id}`] : []),
    ...device(disk, `drive=drive-${disk.id},id=${disk.id},serial=${disk.id}`, thread),
  ];
}

function image({ id, file, format = 'raw', way = 'blockdev' }: MachineDisk): string[] {
  if (way === 'drive') {
    const path = file.replaceAll(',', ',,');
    return ['-drive', `if=none,id=drive-${id},file=${path},format=${format},discard=unmap`];
  }
  const node = {
    driver: format,
    'node-name': `drive-${id}`,
    discard: 'unmap',
    file: { driver: 'file', 'node-name': `file-${id}`, filename: file, discard: 'unmap' },
  };
  return ['-blockdev', JSON.stringify(node)];
}

function device(disk: MachineDisk, common: string, thread: string): string[] {
  switch (disk.bus ?? 'virtio-blk') {
    case 'virtio-blk':
      return ['-device', `virtio-blk,${common}${thread}`];
    case 'virtio-scsi': {
      if (sharesController(disk)) return ['-device', `scsi-hd,bus=scsi.0,${common}`];
      // An I/O thread belongs to the controller: Proxmox VE's "virtio-scsi-single".
      const controller = `scsi-${disk.id}`;
      return [
        ...['-device', `virtio-scsi,id=${controller}${thread}`],
        ...['-device', `scsi-hd,bus=${controller}.0,${common}`],
      ];
    }
    case 'nvme':
    case 'ide':
      if (thread) throw new Error(`${disk.bus} has no I/O threads`);
      return ['-device', `${disk.bus === 'nvme' ? 'nvme' : 'ide-hd'},${common}`];
  }
}

function sharesController(disk: MachineDisk): boolean {
  return disk.bus === 'virtio-scsi' && !disk.iothread;
}

/** Makes an image of zeros, or of an empty ext4 file system. */
export async function makeDisk(
  file: string,
  bytes: number,
  { format = 'raw', filesystem }: { format?: 'raw' | 'qcow2'; filesystem?: 'ext4' } = {},
): Promise<void> {
  await writeFile(file, '');
  await truncate(file, bytes);
  if (filesystem) await run('mkfs.ext4', ['-q', '-F', file]);
  if (format === 'raw') return;
  const converted = `${file}.converted`;
  await run('qemu-img', ['convert', '-f', 'raw', '-O', format, file, converted]);
  await rename(converted, file);
}
