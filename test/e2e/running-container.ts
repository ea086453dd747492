import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { appendFile, chmod, mkdir, mkdtemp, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { builtCommand } from '../built-command.js';
import { output, ServedMount } from './served-mount.js';

const run = promisify(execFile);
const mebibyte = 1024 * 1024;
const name = 'still';
/** Where the container's ids begin among the host's. */
export const firstId = 100_000;

/**
 * A container of LXC's with ids of its own, on a btrfs in a loop file, and, while it is mounted, a stillfs process that shows it as
 * guest 201. Its files: a root subvolume, a subvolume /srv/nested in that, and /srv/bound, another subvolume of the host's.
 */
export class RunningContainer extends ServedMount {
  readonly btrfs: string;
  readonly state: string;
  readonly lxcPath: string;
  /** The host's paths of the container's file systems. */
  readonly rootfs: string;
  readonly bound: string;
  #writer: ChildProcess | undefined;
  /** Subvolumes that are there without any snapshot. */
  #own: readonly string[] = [];

  private constructor(folder: string) {
    super(folder);
    this.btrfs = join(folder, 'btrfs');
    this.state = join(folder, 'state');
    this.lxcPath = join(this.btrfs, 'lxc');
    this.rootfs = join(this.lxcPath, name, 'rootfs');
    this.bound = join(this.btrfs, 'bound');
  }

  /** Makes the container with LXC's busybox template, and starts it. */
  static async make(bytes = 400 * mebibyte): Promise<RunningContainer> {
    const made = new RunningContainer(await mkdtemp(join(tmpdir(), 'stillfs-container-')));
    try {
      await made.#make(bytes);
      await made.start();
      return made;
    } catch (error) {
      await made.remove();
      throw error;
    }
  }

  async #make(bytes: number): Promise<void> {
    const image = join(this.folder, 'image');
    for (const folder of [this.mountpoint, this.btrfs]) await mkdir(folder);
    await output('truncate', '-s', String(bytes), image);
    await output('mkfs.btrfs', '-q', image);
    await output('mount', '-o', 'loop', image, this.btrfs);
    const defaults = join(this.folder, 'defaults');
    await writeFile(defaults, 'lxc.net.0.type = empty\n');
    await output(
      'lxc-create',
      '-P',
      this.lxcPath,
      '-n',
      name,
      '-f',
      defaults,
      '-t',
      'busybox',
      '-B',
      'btrfs',
    );
    const nested = join(this.rootfs, 'srv', 'nested');
    await mkdir(join(this.rootfs, 'srv', 'bound'), { recursive: true });
    for (const subvolume of [nested, this.bound]) await output('btrfs', 'subvolume', 'create', subvolume);
    await output('chown', '-Rh', `${firstId}:${firstId}`, this.rootfs, this.bound);
    // The container's root is nobody outside, who must find the way.
    for (const folder of [this.folder, this.lxcPath, dirname(this.rootfs)]) await chmod(folder, 0o711);
    const lines = [
      `lxc.idmap = u 0 ${firstId} 65536`,
      `lxc.idmap = g 0 ${firstId} 65536`,
      'lxc.apparmor.profile = unconfined',
      'lxc.apparmor.allow_nesting = 0',
      `lxc.mount.entry = ${this.bound} srv/bound none bind 0 0`,
    ];
    await appendFile(this.config, `${lines.join('\n')}\n`);
    this.#own = await this.subvolumes();
  }

  get config(): string {
    return join(this.lxcPath, name, 'config');
  }

  /** Starts the container, or another one that lies beside it. */
  async start(started = name): Promise<void> {
    // As root LXC maps ids by itself where it finds no newuidmap, which would want the system's /etc/subuid to be changed.
    await run('/usr/bin/lxc-start', ['-P', this.lxcPath, '-n', started], { env: { PATH: '/nowhere' } });
    await output('lxc-wait', '-P', this.lxcPath, '-n', started, '-s', 'RUNNING', '-t', '20');
  }

  async stop(): Promise<void> {
    this.#writer?.kill('SIGKILL');
    await output('lxc-stop', '-k', '-P', this.lxcPath, '-n', name);
  }

  /** Runs a line of shell in the container, as its root. */
  async inside(line: string): Promise<string> {
    return output('lxc-attach', '-P', this.lxcPath, '-n', name, '--', '/bin/sh', '-c', line);
  }

  /**
   * Has a process in the container count up in three files, one after the other, each in a file system of its own: at no instant
   * are they further apart than by one, nor does a later one ever stand higher.
   */
  async count(): Promise<void> {
    const files = this.counters.map((path) => `printf %08d $n 1<>${path}`).join('; ');
    const line = `n=0; while n=$((n+1)); do ${files}; done`;
    this.#writer = spawn('lxc-attach', ['-P', this.lxcPath, '-n', name, '--', '/bin/sh', '-c', line], {
      stdio: 'ignore',
    });
    while ((await this.#counted(this.rootfs)) < 1) await new Promise((resolve) => setImmediate(resolve));
  }

  readonly counters = ['/root/count', '/srv/nested/count', '/srv/bound/count'] as const;

  async #counted(root: string): Promise<number> {
    return Number(await readFile(join(root, 'root', 'count'), 'utf8').catch(() => '0'));
  }

  /** Mounts, or mounts again after whatever has become of the daemon before; `keys` are more keys of `--guest`. */
  async mount(keys: readonly string[] = ['snapshot=btrfs', `conf=${this.config}`]): Promise<void> {
    await this.end('SIGKILL');
    await run('umount', ['-l', this.mountpoint]).catch(() => undefined);
    const guest = ['id=201', 'type=lxc', ...keys].join(',');
    const preload = join(dirname(builtCommand), '../../test/faults/kill-at-step.js');
    await this.serve(['--state', this.state, '--guest', guest], {
      NODE_OPTIONS: `--import=${preload}`,
      STILLFS_KILL_ORDERS: this.killOrders,
    });
  }

  /** What is killed, and when: see kill-at-step. */
  get killOrders(): string {
    return join(this.folder, 'kill');
  }

  /** A path in the mount, below the guest's snapshots. */
  path(...parts: string[]): string {
    return join(this.mountpoint, 'guests', '201', 'snapshots', ...parts);
  }

  /** Takes a snapshot and gives its `snapshot.json`. */
  async take(snapshot: string): Promise<ContainerFacts> {
    await mkdir(this.path(snapshot));
    return JSON.parse(await readFile(this.path(snapshot, 'snapshot.json'), 'utf8'));
  }

  /** Ends a snapshot, with an outcome or without. */
  async finish(snapshot: string, outcome?: 'success' | 'failure'): Promise<void> {
    if (outcome) await writeFile(this.path(snapshot, 'outcome'), `${outcome}\n`);
    await rmdir(this.path(snapshot));
  }

  /** What the guest's `guest.json` says. */
  async told(): Promise<{ state: string; rootfs: string; mountPoints: unknown; reason?: string }> {
    return JSON.parse(await readFile(join(this.mountpoint, 'guests', '201', 'guest.json'), 'utf8'));
  }

  /** Whether the container's processes stand still, as the kernel tells. */
  async frozen(): Promise<boolean> {
    return /^frozen 1$/m.test(await readFile(join(await this.cgroup(), 'cgroup.events'), 'utf8'));
  }

  async cgroup(): Promise<string> {
    const pid = (await output('lxc-info', '-P', this.lxcPath, '-n', name, '-p', '-H')).trim();
    const [, path = ''] = /^0::(.*)$/m.exec(await readFile(`/proc/${pid}/cgroup`, 'utf8')) ?? [];
    const [, root = ''] = / (\S+) \S+ - cgroup2 /.exec(await readFile('/proc/self/mountinfo', 'utf8')) ?? [];
    return join(root, path);
  }

  /** The paths of all subvolumes. */
  async subvolumes(): Promise<string[]> {
    const lines = (await output('btrfs', 'subvolume', 'list', this.btrfs)).trim().split('\n');
    return lines.map((line) => line.replace(/^.* path /, '')).sort();
  }

  /** One sentence for each thing of ours that is there though no snapshot is open. */
  async left(): Promise<string[]> {
    const left = (await this.subvolumes()).filter((path) => !this.#own.includes(path));
    for (const file of await readdir(join(this.state, 'guests', '201')))
      if (file !== 'lock') left.push(`${file} in the state folder`);
    if (await this.frozen()) left.push('the container stands still');
    return left;
  }

  override async remove(): Promise<void> {
    this.#writer?.kill('SIGKILL');
    await this.end();
    await run('umount', ['-l', this.mountpoint]).catch(() => undefined);
    await this.stop().catch(() => undefined);
    await run('umount', [this.btrfs]).catch(() => run('umount', ['-l', this.btrfs]).catch(() => undefined));
    await super.remove();
  }
}

/** What the tests look at of a container's `snapshot.json`. */
export interface ContainerFacts {
  readonly id: string;
  readonly chain: null;
  readonly outcome: string;
  readonly broken: string | null;
  readonly snapshot: string;
  readonly live?: string;
  readonly state: string;
  readonly mountPoints: ReadonlyArray<{ path: string; source: string }>;
  readonly omitted: ReadonlyArray<{ path: string; reason: string }>;
  readonly freezeMilliseconds: number | null;
}
