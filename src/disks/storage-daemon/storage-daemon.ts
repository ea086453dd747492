import { spawn } from 'node:child_process';
import { chown, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { StillError } from '../../errors.js';
import { silent } from '../../log.js';
import type { Disk } from '../disk.js';
import { openNbdDisk } from '../nbd/nbd-disk.js';
import { NbdServer } from '../nbd/nbd-server.js';

/** nobody and nogroup, as Debian and the kernel's overflow ids have them. */
const nobody = 65534;
const startMilliseconds = 10_000;
const pollMilliseconds = 5;
const mostWords = 4096;

/**
 * Lets one `qemu-storage-daemon` translate a disk image. It runs as nobody, gets the image's bytes over a socket of
 * ours and no file at all, and goes when we go. Both disks end with the one that is returned.
 */
export async function translatedImage(
  image: Disk,
  driver: string,
  subject: string,
  signal?: AbortSignal,
): Promise<Disk> {
  const folder = await mkdtemp(join(tmpdir(), 'stillfs-image-'));
  const isRoot = process.geteuid?.() === 0;
  if (isRoot) await chown(folder, nobody, nobody);
  const server = await NbdServer.listen(image, join(folder, 'image'), silent);
  const daemon = start(folder, driver, isRoot);
  const close = async (): Promise<void> => {
    await daemon.stop();
    server.close();
    await rm(folder, { recursive: true, force: true });
    await image.close();
  };
  try {
    const disk = await whenReady(daemon, join(folder, 'disk'), subject, signal);
    return {
      size: disk.size,
      read: (offset, target, reading) => daemon.explain(disk.read(offset, target, reading), subject),
      extents: (offset, length, asking) => daemon.explain(disk.extents(offset, length, asking), subject),
      close: async () => {
        await disk.close();
        await close();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

interface RunningDaemon {
  /** How it ended, once it has: a sentence. */
  readonly ended: () => string | undefined;
  stop(): Promise<void>;
  /** The same result, or a failure that tells of the daemon's end where that is the reason. */
  explain<T>(result: Promise<T>, subject: string): Promise<T>;
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
    env: { PATH: process.env['PATH'] ?? '' },
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
  return {
    ended: () => ended,
    stop: async () => {
      child.kill('SIGTERM');
      const late = setTimeout(() => child.kill('SIGKILL'), 2000);
      await over;
      clearTimeout(late);
    },
    explain: async (result, subject) => {
      try {
        return await result;
      } catch (error) {
        if (ended === undefined) throw error;
        throw new StillError('EIO', `${subject} can't be read any more: ${ended}`, { cause: error });
      }
    },
  };
}

/** Tries to connect until the daemon answers, has ended, or takes too long. */
async function whenReady(
  daemon: RunningDaemon,
  path: string,
  subject: string,
  signal?: AbortSignal,
): Promise<Disk> {
  const deadline = Date.now() + startMilliseconds;
  for (;;) {
    signal?.throwIfAborted();
    const ended = daemon.ended();
    if (ended !== undefined) throw new StillError('EIO', `${subject} can't be opened: ${ended}`);
    try {
      return await openNbdDisk({ path, exportName: 'disk', connections: 2 }, signal);
    } catch (error) {
      const notYet =
        error instanceof Error &&
        'code' in error &&
        (error.code === 'ENOENT' || error.code === 'ECONNREFUSED');
      if (!notYet || Date.now() > deadline) throw error;
      await wait(pollMilliseconds, undefined, signal ? { signal } : {});
    }
  }
}
