import { type Name, nameToText } from '../../name.js';
import type { Disk } from '../disk.js';
import { openRawImage } from '../raw/raw-image.js';
import { translatedImage } from '../storage-daemon/translated-image.js';
import type { StoreFolder } from '../store-folder.js';
import type { Checked } from './check.js';
import { unending } from './unending.js';
import { checkVdi } from './vdi.js';
import { checkVhd } from './vhd.js';
import { checkVhdx } from './vhdx.js';
import { checkVmdk } from './vmdk.js';

/** Formats that QEMU reads for us, by the names of its drivers (vpc is what others call vhd). */
export type ForeignFormat = 'vmdk' | 'vdi' | 'vhdx' | 'vpc';

const checks: Readonly<
  Record<ForeignFormat, (image: Disk, subject: string, signal?: AbortSignal) => Promise<Checked>>
> = {
  vmdk: checkVmdk,
  vdi: checkVdi,
  vhdx: checkVhdx,
  vpc: checkVhd,
};

/**
 * Opens an image of a format that is not read in-process, through a `qemu-storage-daemon` of its own. Only images that
 * are one file are opened: checked here first, and QEMU itself gets the bytes of that file and nothing else.
 */
export async function openForeignImage(
  folder: StoreFolder,
  path: Name,
  format: ForeignFormat,
  signal?: AbortSignal,
): Promise<Disk> {
  const subject = `${folder.path}/${nameToText(path)}`;
  const image = await openRawImage(folder, path, signal);
  let shown: Disk;
  try {
    const { needsTrueEnd } = await checks[format](image, subject, signal);
    shown = needsTrueEnd ? image : unending(image, subject);
  } catch (error) {
    await image.close();
    throw error;
  }
  return translatedImage(shown, format, subject, signal);
}
