import { chown, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hasCode, StillError } from '../../errors.js';
import type { Disk } from '../disk.js';
import { NbdServer } from '../nbd/nbd-server.js';
import { openDaemonsDisk, startStorageDaemon } from './running-daemon.js';

/** nobody and nogroup, as Debian and the kernel's overflow ids have them. */
const nobody = 65534;

/**
 * Lets one `qemu-storage-daemon` translate a disk image. It runs as nobody, gets the image's bytes over a socket of
 * ours and no file at all, and goes when we go. `image` is taken over: it ends with the disk that is returned, or when
 * there is none.
 */
export async function translatedImage(
  image: Disk,
  driver: string,
  subject: string,
  signal?: AbortSignal,
): Promise<Disk> {
  const ends: (() => Promise<void> | void)[] = [() => image.close()];
  const end = async (): Promise<void> => {
    for (let last = ends.pop(); last; last = ends.pop()) await last();
  };
  try {
    const folder = await mkdtemp(join(tmpdir(), 'stillfs-image-'));
    const removeFolder = (): Promise<void> => rm(folder, { recursive: true, force: true });
    ends.push(removeFolder);
    const isRoot = process.geteuid?.() === 0;
    if (isRoot) await chown(folder, nobody, nobody);
    const trouble: { count: number; last?: unknown } = { count: 0 };
    const server = await NbdServer.listen(image, join(folder, 'image'), (error) => {
      trouble.count++;
      trouble.last = error;
    });
    ends.push(() => server.close());
    const options = [
      ...[
        '--blockdev',
        `driver=nbd,node-name=image,read-only=on,server.type=unix,server.path=${folder}/image`,
      ],
      ...['--blockdev', `driver=${driver},node-name=disk,read-only=on,file=image`],
      ...['--nbd-server', `addr.type=unix,addr.path=${folder}/disk,max-connections=4`],
      ...['--export', 'type=nbd,id=disk,node-name=disk,name=disk'],
    ];
    const daemon = startStorageDaemon(options, isRoot ? { uid: nobody, gid: nobody } : undefined);
    ends.push(() => daemon.stop());
    const disk = await openDaemonsDisk(daemon, join(folder, 'disk'), 'disk', subject, signal);
    ends.push(() => disk.close());
    // All are connected. What has no name any more is not left behind, however this process ends.
    await removeFolder();

    const explained = async <T>(answer: Promise<T>, reading?: AbortSignal): Promise<T> => {
      const before = trouble.count;
      try {
        return await answer;
      } catch (error) {
        if (reading?.aborted || hasCode(error, 'EBADF') || hasCode(error, 'EINVAL')) throw error;
        if (trouble.count > before)
          throw new StillError('EIO', `${subject} can't be read`, { cause: trouble.last });
        const how = disk.lost && (await daemon.howItEnded());
        if (how === undefined)
          throw new StillError('EIO', `${subject} can't be read there`, { cause: error });
        throw new StillError('EIO', `${subject} can't be read any more: ${how}`, { cause: error });
      }
    };
    return {
      size: disk.size,
      read: (offset, target, reading) => explained(disk.read(offset, target, reading), reading),
      extents: (offset, length, asking) => explained(disk.extents(offset, length, asking), asking),
      close: end,
    };
  } catch (error) {
    await end();
    throw error;
  }
}
