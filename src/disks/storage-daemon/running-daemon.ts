import { spawn } from 'node:child_process';
import { setTimeout as wait } from 'node:timers/promises';
import { hasCode, StillError } from '../../errors.js';
import { type NbdDisk, openNbdDisk } from '../nbd/nbd-disk.js';

const startMilliseconds = 10_000;
/** How long a daemon may take to end that was asked to, or whose connections are lost. */
const stopMilliseconds = 2000;
const endMilliseconds = 1000;
const pollMilliseconds = 5;
const mostWords = 4096;

/** A user and a group, by their numbers. */
export interface Identity {
  readonly uid: number;
  readonly gid: number;
}

/** A `qemu-storage-daemon` of ours, which goes when we go. */
export interface RunningDaemon {
  /** How it ended, once it has: a sentence. */
  readonly ended: () => string | undefined;
  /** The same, for who has seen a failure that its end may explain: an end that is under way is waited for, a little. */
  endedMeanwhile(): Promise<string | undefined>;
  /** The same, for who knows that it ends: it is killed if that takes long. */
  howItEnded(): Promise<string | undefined>;
  stop(): Promise<void>;
}

/** Starts a daemon with these options, as another user where one is given. */
export function startStorageDaemon(options: readonly string[], identity?: Identity): RunningDaemon {
  const drop = identity
    ? [`--reuid=${identity.uid}`, `--regid=${identity.gid}`, '--clear-groups', '--no-new-privs']
    : ['--no-new-privs'];
  const args = [...drop, '--pdeathsig=KILL', 'qemu-storage-daemon', ...options];
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
    endedMeanwhile: async () => {
      const late = new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, endMilliseconds);
        void over.then(() => clearTimeout(timer));
      });
      await Promise.race([over, late]);
      return ended;
    },
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

/** Opens an export of a daemon at the socket `path`: tries until it answers, has ended, or takes too long. */
export function openDaemonsDisk(
  daemon: RunningDaemon,
  path: string,
  exportName: string,
  subject: string,
  signal?: AbortSignal,
): Promise<NbdDisk> {
  const opening = (): Promise<NbdDisk> =>
    openNbdDisk({ address: { path }, exportName, connections: 2 }, signal);
  return untilReady(daemon, subject, opening, signal);
}

/** Tries to open an export of a daemon until that succeeds, the daemon has ended, or it takes too long. */
export async function untilReady<T>(
  daemon: RunningDaemon,
  subject: string,
  opening: () => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const deadline = Date.now() + startMilliseconds;
  for (;;) {
    signal?.throwIfAborted();
    try {
      return await opening();
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
