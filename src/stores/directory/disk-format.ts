import type { Disk } from '../../disks/disk.js';
import { openForeignImage } from '../../disks/foreign/foreign-image.js';
import { openQcow2Image } from '../../disks/qcow2/qcow2-image.js';
import { openRawImage } from '../../disks/raw/raw-image.js';
import type { StoreFolder } from '../../disks/store-folder.js';
import type { Name } from '../../name.js';

/** The formats that stored disks can have, by QEMU's names, in the order of preference where two files are one disk. */
export const diskFormats = ['raw', 'qcow2', 'vmdk', 'vdi', 'vhdx', 'vpc'] as const;
export type DiskFormat = (typeof diskFormats)[number];

const formatOf: Readonly<Record<string, DiskFormat>> = {
  raw: 'raw',
  img: 'raw',
  qcow2: 'qcow2',
  vmdk: 'vmdk',
  vdi: 'vdi',
  vhdx: 'vhdx',
  vhd: 'vpc',
};

/** The disk that a file's name tells of, without a look at its content, which a guest may have written. */
export function diskOfFileName(file: Name): { readonly disk: Name; readonly format: DiskFormat } | undefined {
  const dot = file.lastIndexOf('.');
  if (dot < 1) return undefined;
  const extension = file.slice(dot + 1);
  const format = Object.hasOwn(formatOf, extension) ? formatOf[extension] : undefined;
  return format && { disk: file.slice(0, dot) as Name, format };
}

export function openImage(
  folder: StoreFolder,
  path: Name,
  format: DiskFormat,
  signal: AbortSignal,
): Promise<Disk> {
  if (format === 'raw') return openRawImage(folder, path, signal);
  if (format === 'qcow2') return openQcow2Image(folder, path, signal);
  return openForeignImage(folder, path, format, signal);
}
