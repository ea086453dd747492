import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { unmount } from '../../src/posix/unmount.js';
import type { TreeName } from './trees/all.js';
import type { Plain } from './trees/tree-under-test.js';

export type Transport = 'kernel' | 'fuse-native';
/** Where a tree lives: in the process that serves the mount, or in a worker of it. */
export type Hosting = 'process' | 'worker';

/** What a test asks of the process that serves. */
export interface Asked {
  readonly id: number;
  readonly to: TreeName | 'mount';
  readonly command: string;
  readonly argument: Plain;
}

/** What that process says. */
export type Said =
  | { readonly event: 'mounted' | 'ended' }
  | { readonly event: 'failed'; readonly message: string }
  | { readonly id: number; readonly value: Plain }
  | { readonly id: number; readonly error: string };

/** What `counts` of both transports have in common. */
export interface Counts {
  readonly requests: number;
  readonly nodes: number;
  readonly trees: number;
  readonly files: number;
}

/** What is usually left as it is: others are let in, the mount may be written to. */
export interface Options {
  readonly readOnly?: boolean;
  readonly allowOther?: boolean;
  /** How long fuse-native waits for an answer, in milliseconds, if not as long as it does by itself. */
  readonly limit?: number;
}

/** How to mount what. */
export interface Way extends Options {
  readonly transport: Transport;
  readonly hosting: Hosting;
  /** One tree, or all of them, each upon a folder of its name. */
  readonly tree: TreeName | 'all';
}

/** Trees that a process of its own (compiled: `npm run build`) serves and a test uses as any program does. */
export class MountedTrees {
  readonly #process: ChildProcess;
  readonly #exited: Promise<unknown>;
  #log = '';
  #lastId = 0;

  private constructor(
    readonly way: Way,
    readonly mountpoint: string,
  ) {
    const { transport, hosting, tree, ...options } = way;
    const words = [transport, hosting, tree, mountpoint, JSON.stringify(options)];
    this.#process = fork(resolve('dist/test/conformance/serve.js'), words, {
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
      execArgv: [],
      env: { ...process.env, UV_THREADPOOL_SIZE: '32' },
    });
    this.#process.setMaxListeners(0);
    this.#exited = once(this.#process, 'close');
    this.#process.stderr?.on('data', (chunk: Buffer) => {
      this.#log += chunk.toString('utf8');
    });
  }

  /** Settles when the mount answers. On a folder of its own, or on one that is given. */
  static async start(way: Way, mountpoint?: string): Promise<MountedTrees> {
    const mounted = new MountedTrees(way, mountpoint ?? (await mkdtemp(join(tmpdir(), 'conformance-'))));
    try {
      const first = await mounted.#next((said) => 'event' in said);
      if ('event' in first && first.event === 'mounted') return mounted;
      throw new Error(`nothing was mounted: ${JSON.stringify(first)} ${mounted.#log}`);
    } catch (error) {
      await mounted.stop();
      throw error;
    }
  }

  path(...names: string[]): string {
    return join(this.mountpoint, ...names);
  }

  /** The lines that the server has logged so far. */
  get log(): readonly string[] {
    return this.#log.split('\n').filter((line) => line !== '');
  }

  /** Sends a command of a tree (./trees), and gives its answer. */
  async tell(to: TreeName | 'mount', command: string, argument: Plain = null): Promise<Plain> {
    const id = ++this.#lastId;
    const answer = this.#next((said) => 'id' in said && said.id === id);
    // Where that fails the process is gone, and so says `answer`.
    this.#process.send({ id, to, command, argument } satisfies Asked, () => undefined);
    const said = await answer;
    if ('error' in said) throw new Error(said.error);
    return 'value' in said ? said.value : null;
  }

  async counts(): Promise<Counts> {
    return (await this.tell('mount', 'counts')) as unknown as Counts;
  }

  /** Ends the mount as its owner does; the errno where that failed. */
  async unmount(force = false): Promise<Plain> {
    return this.tell('mount', force ? 'unmount by force' : 'unmount');
  }

  /** As a crash of the machine's memory would: nobody is told, nothing is cleaned up. */
  async kill(): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.#exited;
  }

  /** Settles with the exit code when the process has ended by itself. */
  async exited(): Promise<number | null> {
    await this.#exited;
    return this.#process.exitCode;
  }

  /** Ends what is left of it, whatever state it is in. */
  async stop(): Promise<void> {
    await this.detach();
    if (this.#process.exitCode === null && this.#process.signalCode === null) this.#process.kill('SIGKILL');
    await this.#exited;
    await rmdir(this.mountpoint).catch((error: unknown) => {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
    });
  }

  /** `umount -f -l`; nothing where nothing is mounted. */
  async detach(): Promise<void> {
    await unmount(this.mountpoint, true).catch(() => undefined);
  }

  #next(wanted: (said: Said) => boolean): Promise<Said> {
    return new Promise((resolve, reject) => {
      const hear = (said: Said): void => {
        if (!wanted(said)) return;
        this.#process.off('message', hear);
        resolve(said);
      };
      this.#process.on('message', hear);
      this.#exited.then(() => reject(new Error(`the server has ended: ${this.#log}`)), reject);
    });
  }
}
