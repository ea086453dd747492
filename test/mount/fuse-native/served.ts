import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { unmount } from '../../../src/posix/unmount.js';

interface Event {
  readonly event?: 'mounted' | 'ended' | 'failed';
  readonly id?: number;
  readonly value?: unknown;
  readonly code?: string;
  readonly message?: string;
  readonly lacks?: readonly string[];
}

export interface Counts {
  readonly requests: number;
  readonly nodes: number;
  readonly names: number;
  readonly files: number;
  readonly threads: number;
  readonly forgotten: number;
}

/** One of the test's trees, served by a process of its own (compiled: `npx tsc -p .`). */
export class Served {
  readonly #process: ChildProcess;
  readonly #exited: Promise<unknown>;
  #said = '';
  #lastId = 0;

  private constructor(
    readonly mountpoint: string,
    tree: string,
    options: object,
  ) {
    this.#process = fork(
      resolve('dist/test/mount/fuse-native/serve.js'),
      [mountpoint, tree, JSON.stringify(options)],
      { stdio: ['ignore', 'inherit', 'pipe', 'ipc'], execArgv: [] },
    );
    this.#exited = once(this.#process, 'close');
    this.#process.stderr?.on('data', (chunk: Buffer) => {
      this.#said += chunk.toString('utf8');
    });
  }

  /** Settles when the tree is mounted; rejects with the code and message of why it could not be. */
  static async start(tree: string, options: object = {}): Promise<Served> {
    const served = new Served(await mkdtemp(join(tmpdir(), 'fuse-native-')), tree, options);
    const first = await served.#next((event) => event.event !== undefined);
    if (first.event === 'mounted') return served;
    await served.stop();
    throw Object.assign(new Error(first.message), { code: first.code });
  }

  /** What the server has logged so far. */
  get log(): string {
    return this.#said;
  }

  path(...names: string[]): string {
    return join(this.mountpoint, ...names);
  }

  counts(): Promise<Counts> {
    return this.ask('counts') as Promise<Counts>;
  }

  async ask(command: 'counts' | 'unmount' | 'unmount by force'): Promise<unknown> {
    const id = ++this.#lastId;
    const answer = this.#next((event) => event.id === id);
    this.#process.send({ command, id });
    return (await answer).value;
  }

  /** Settles with the exit code when the process has ended by itself. */
  async exited(): Promise<number | null> {
    await this.#exited;
    return this.#process.exitCode;
  }

  /** Ends what is left of it, whatever state it is in. */
  async stop(): Promise<void> {
    await unmount(this.mountpoint, true).catch(() => undefined);
    if (this.#process.exitCode === null && this.#process.signalCode === null) this.#process.kill('SIGKILL');
    await this.#exited;
    await rmdir(this.mountpoint);
  }

  #next(wanted: (event: Event) => boolean): Promise<Event> {
    return new Promise((resolve, reject) => {
      const hear = (event: Event): void => {
        if (!wanted(event)) return;
        this.#process.off('message', hear);
        resolve(event);
      };
      this.#process.on('message', hear);
      this.#exited.then(() => reject(new Error(`the server has ended: ${this.#said}`)), reject);
    });
  }
}
