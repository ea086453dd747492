import { spawn } from 'node:child_process';
import { chown, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { hasCode, StillError } from '../../errors.js';
import type { Disk } from '../disk.js';
import { type NbdDisk, openNbdDisk } from '../nbd/nbd-disk.js';
import { NbdServer } from '../nbd/nbd-server.js';

/** nobody and nogroup, as Debian and the kernel's overflow ids have them. */
const nobody = 65534;
const startMilliseconds = 10_000;
/** How long a daemon may take to end that was asked to, or whose connections are lost. */
const stopMilliseconds = 2000;
const endMilliseconds = 1000;
const pollMilliseconds = 5;
const mostWords = 4096;

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
    const daemon = start(folder, driver, isRoot);
    ends.push(() => daemon.stop());
    const disk = await whenReady(daemon, join(folder, 'disk'), subject, signal);
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

interface RunningDaemon {
  /** How it ended, once it has: a sentence. */
  readonly ended: () => string | undefined;
  /** The same, for who knows that it ends: waits a little for it. */
  howItEnded(): Promise<string | undefined>;
  stop(): Promise<void>;
}

function start(folder: string, driver: string, isRoot: boolean): RunningDaemon {
  const drop = isRoot ? [`--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups'] : [];
  const args = [
    ...drop,
    ...['--no-new-privs', '--pdeathsig=KILL', 'qemu-storage-daemon'],
    ...['--blockdev', `driver=nbd,node-name=image,read-only=on,server.type=unix,server.path=${folder}/image`],
    ...['--blockdev', `driver=${driver},node-name=disk,read-only=on,file=image`],
    ...['--nbd-server', `addr.type=unix,addr.path=${folder}/disk,max-connections=4`],
    ...['--export', 'type=nbd,id=disk,node-name=disk,name=disk'],
  ];
  const child = spawn('setpriv', args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    cwd: '/',
    env: { PATH: process.env.PATH ?? '' },
  });
  let words = '';
  let ended: string | undefined;
  child.stderr.on('data', (chunk: Buffer) => {
    if (words.length < mostWords) words += chunk.toString('utf8');
  });
  const over = new Promise<void>((resolve) => {
    child.on('error', (error) => {
      ended = `setpriv and qemu-storage-daemon are needed (Debian: apt install qemu-system-common): ${error.message}`;
      resolve();
    });
    child.on('close', (code, how) => {
      ended ??= `qemu-storage-daemon ended (${how ?? code}): ${words.trim() || 'it said nothing'}`;
      resolve();
    });
  });
  const killAfter = async (milliseconds: number): Promise<void> => {
    const late = setTimeout(() => child.kill('SIGKILL'), milliseconds);
    await over;
    clearTimeout(late);
  };
  return {
    ended: () => ended,
    howItEnded: async () => {
      await killAfter(endMilliseconds);
      return ended;
    },
    stop: async () => {
      child.kill('SIGTERM');
      await killAfter(stopMilliseconds);
    },
  };
}

/** Tries to connect until the daemon answers, has ended, or takes too long. */
async function whenReady(
  daemon: RunningDaemon,
  path: string,
  subject: string,
  signal?: AbortSignal,
): Promise<NbdDisk> {
  const deadline = Date.now() + startMilliseconds;
  for (;;) {
    signal?.throwIfAborted();
    try {
      return await openNbdDisk({ address: { path }, exportName: 'disk', connections: 2 }, signal);
    } catch (error) {
      if (signal?.aborted) throw error;
      const notYet = hasCode(error, 'ENOENT') || hasCode(error, 'ECONNREFUSED');
      const ended = notYet ? daemon.ended() : await daemon.howItEnded();
      if (ended !== undefined) throw new StillError('EIO', `${subject} can't be opened: ${ended}`);
      if (Date.now() > deadline)
        throw new StillError('EIO', `${subject} can't be opened: qemu-storage-daemon does not get ready`, {
          cause: error,
        });
      await wait(pollMilliseconds);
    }
  }
}
