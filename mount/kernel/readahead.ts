import { stat, writeFile } from 'node:fs/promises';
import { codeOf } from '../../src/errors.js';

const readaheadKibibytes = 4096;

/**
 * Lets the kernel read 4 MiB ahead in files of a mount; its default of 128 KiB keeps requests small. Only root can
 * say so; gives what was in the way otherwise.
 */
export async function raiseReadahead(mountpoint: string): Promise<string | undefined> {
  const { dev } = await stat(mountpoint);
  // Mounts without a block device have major number 0; the minor is split as in gnu_dev_minor.
  const minor = (dev & 0xff) | ((dev >>> 12) & 0xfff00);
  try {
    await writeFile(`/sys/class/bdi/0:${minor}/read_ahead_kb`, String(readaheadKibibytes));
    return undefined;
  } catch (error) {
    return `the kernel reads only a little ahead (read_ahead_kb can't be set: ${codeOf(error)})`;
  }
}
