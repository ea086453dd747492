import { mkdir, mkdtemp, readFile, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Machine, type MachineOptions } from '../machine/machine.js';
import { type MachineDisk, makeDisk } from '../machine/machine-disk.js';
import { ServedMount } from './served-mount.js';

/** A disk of the guest: `MachineDisk` without its file, which is made. */
export interface GuestDisk extends Omit<MachineDisk, 'file'> {
  readonly bytes: number;
  readonly filesystem?: 'ext4';
}

export interface GuestOptions extends Omit<MachineOptions, 'disks'> {
  readonly disks: readonly GuestDisk[];
}

/** A virtual machine, and, while it is mounted, a stillfs process that shows it as guest 100. */
export class MountedGuest extends ServedMount {
  readonly images: string;
  readonly fleecing: string;
  readonly state: string;
  #machine: Machine | undefined;
  readonly #options: GuestOptions;

  private constructor(folder: string, options: GuestOptions) {
    super(folder);
    this.images = join(folder, 'images');
    this.fleecing = join(folder, 'fleecing');
    this.state = join(folder, 'state');
    this.#options = options;
  }

  /** Makes the disks and boots the machine. */
  static async make(options: GuestOptions): Promise<MountedGuest> {
    const made = new MountedGuest(await mkdtemp(join(tmpdir(), 'stillfs-guest-')), options);
    try {
      for (const folder of [made.mountpoint, made.images, made.fleecing]) await mkdir(folder);
      for (const { id, bytes, format, filesystem } of options.disks) {
        const more = { ...(format && { format }), ...(filesystem && { filesystem }) };
        await makeDisk(made.image(id), bytes, more);
      }
      await made.boot();
      return made;
    } catch (error) {
      await made.remove();
      throw error;
    }
  }

  /** Boots the machine (again), with the same disks. */
  async boot(): Promise<void> {
    const { disks, ...rest } = this.#options;
    const files = disks.map(({ bytes: _, filesystem: __, ...disk }) => ({
      ...disk,
      file: this.image(disk.id),
    }));
    this.#machine = await Machine.start({ ...rest, disks: files });
  }

  get machine(): Machine {
    if (!this.#machine) throw new Error('no machine was booted');
    return this.#machine;
  }

  /** The file that holds a disk. */
  image(disk: string): string {
    return join(this.images, disk);
  }

  /** Mounts; `keys` are more keys of `--guest` (`readable=dirty`), `beside` more options. The agent is used where the machine has one. */
  async mount(
    keys: readonly string[] = [],
    env: Readonly<Record<string, string>> = {},
    beside: readonly string[] = [],
  ): Promise<void> {
    const guest = [
      'id=100',
      `qmp=${this.machine.qmpPath}`,
      `fleecing=${this.fleecing}`,
      ...((this.#options.agent ?? true) ? [`agent=${this.machine.agentPath}`] : []),
      ...keys,
    ];
    await this.serve(['--state', this.state, '--guest', guest.join(','), ...beside], env);
  }

  /** A path in the mount, below the guest's snapshots. */
  path(...parts: string[]): string {
    return join(this.mountpoint, 'guests', '100', 'snapshots', ...parts);
  }

  /** Takes a snapshot and gives its `snapshot.json`. */
  async take(name: string): Promise<SnapshotFacts> {
    await mkdir(this.path(name));
    return this.facts(name);
  }

  /** What a snapshot says of itself. */
  async facts(name: string): Promise<SnapshotFacts> {
    return JSON.parse(await readFile(this.path(name, 'snapshot.json'), 'utf8'));
  }

  /** Ends a snapshot, with an outcome or without. */
  async finish(name: string, outcome?: 'success' | 'failure'): Promise<void> {
    if (outcome) await writeFile(this.path(name, 'outcome'), `${outcome}\n`);
    await rmdir(this.path(name));
  }

  /** The dirty ranges of a snapshot's disk, as its map tells them: bytes. */
  async dirty(name: string, disk: string): Promise<Array<{ offset: number; length: number }>> {
    const rows: Array<{ offset: number; length: number; type: number }> = JSON.parse(
      await readFile(this.path(name, 'disks', `${disk}.dirty.json`), 'utf8'),
    );
    return rows.filter(({ type }) => type === 1).map(({ offset, length }) => ({ offset, length }));
  }

  /** Names of what is ours in the guest's QEMU: nodes, exports, and bitmaps beside `kept`. */
  async leftInQemu(): Promise<string[]> {
    const nodes = (await this.machine.qmp('query-named-block-nodes', { flat: true })) as Array<{
      'node-name': string;
    }>;
    const exports = (await this.machine.qmp('query-block-exports')) as Array<{ id: string }>;
    return [...nodes.map((node) => node['node-name']), ...exports.map(({ id }) => id)].filter((name) =>
      name.startsWith('stillfs'),
    );
  }

  override async remove(): Promise<void> {
    await this.end();
    await this.#machine?.remove();
    await super.remove();
  }
}

/** What the tests look at of a `snapshot.json`. */
export interface SnapshotFacts {
  readonly id: string;
  readonly chain: string | null;
  readonly outcome: string;
  readonly broken: string | null;
  readonly pauseMilliseconds: number;
  readonly frozenFileSystems: number | null;
  readonly omitted: ReadonlyArray<{ name: string; reason: string }>;
  readonly disks: ReadonlyArray<{
    readonly name: string;
    readonly size: number;
    readonly mode: 'none' | 'new' | 'reuse';
    readonly base: string | null;
    readonly dirty: number;
    readonly reason?: string;
  }>;
}
