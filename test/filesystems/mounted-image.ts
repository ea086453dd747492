import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { unmount } from '../../src/posix/unmount.js';
import type { TestedKind } from './kinds.js';
import type { Said } from './serve-image.js';

/** An image's file system, read by us and mounted by a process of its own (compiled: `npm run build`). */
export class MountedImage {
  readonly #process: ChildProcess;
  readonly #exited: Promise<unknown>;
  readonly #problems: string[] = [];
  #log = '';

  private constructor(
    kind: TestedKind,
    image: string,
    readonly mountpoint: string,
  ) {
    this.#process = fork(resolve('dist/test/filesystems/serve-image.js'), [kind, image, mountpoint], {
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
      execArgv: [],
    });
    // 'close' never comes where both sides let go of their channel at once.
    this.#exited = once(this.#process, 'exit');
    this.#process.stderr?.on('data', (chunk: Buffer) => {
      this.#log += chunk.toString('utf8');
    });
    this.#process.on('message', (said: Said) => {
      if (said.event === 'problem') this.#problems.push(said.sentence);
    });
  }

  /** Settles when the mount answers. */
  static async start(kind: TestedKind, image: string): Promise<MountedImage> {
    const mounted = new MountedImage(kind, image, await mkdtemp(join(tmpdir(), `${kind}-image-`)));
    try {
      await mounted.#started();
      return mounted;
    } catch (error) {
      await mounted.stop();
      throw error;
    }
  }

  path(...names: string[]): string {
    return join(this.mountpoint, ...names);
  }

  /** What the reader has found wrong so far. */
  get problems(): readonly string[] {
    return this.#problems;
  }

  async stop(): Promise<void> {
    await unmount(this.mountpoint, true).catch(() => undefined);
    if (this.#process.exitCode === null && this.#process.signalCode === null) this.#process.kill('SIGKILL');
    await this.#exited;
    await rmdir(this.mountpoint);
  }

  async #started(): Promise<void> {
    const answered = new Promise<void>((resolve, reject) => {
      this.#process.on('message', (said: Said) => {
        if (said.event === 'mounted') resolve();
        else if (said.event === 'failed') reject(new Error(said.message));
      });
    });
    const ended = this.#exited.then(() => {
      throw new Error(`the mount has ended: ${this.#log}`);
    });
    ended.catch(() => undefined);
    await Promise.race([answered, ended]);
  }
}
