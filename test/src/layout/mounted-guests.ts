import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { unmount } from '../../../src/posix/unmount.js';

/** The guests of ./serve-guests.ts (compiled: `npm run build`), mounted by a process of its own. */
export class MountedGuests {
  readonly #process: ChildProcess;
  readonly #exited: Promise<unknown>;

  private constructor(
    transport: 'kernel' | 'fuse-native',
    readonly mountpoint: string,
  ) {
    this.#process = fork(resolve('dist/test/src/layout/serve-guests.js'), [transport, mountpoint], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      execArgv: [],
    });
    this.#exited = once(this.#process, 'close');
  }

  static async start(transport: 'kernel' | 'fuse-native'): Promise<MountedGuests> {
    const mounted = new MountedGuests(transport, await mkdtemp(join(tmpdir(), 'stillfs-guests-')));
    await mounted.said('mounted');
    return mounted;
  }

  /** A path below `guests/`. */
  path(...names: string[]): string {
    return join(this.mountpoint, 'guests', ...names);
  }

  /** Has all snapshots end by themselves. */
  async endSnapshots(): Promise<void> {
    const ended = this.said('ended');
    this.#process.send('end');
    await ended;
  }

  async stop(): Promise<void> {
    await unmount(this.mountpoint, true);
    await this.#exited;
    await rmdir(this.mountpoint);
  }

  /** Settles when the server says a word. */
  said(word: 'mounted' | 'taking' | 'ended'): Promise<void> {
    return new Promise((resolve, reject) => {
      const hear = (message: unknown): void => {
        if (message !== word) return;
        this.#process.off('message', hear);
        resolve();
      };
      this.#process.on('message', hear);
      this.#exited.then(() => reject(new Error('the server has ended')), reject);
    });
  }
}
