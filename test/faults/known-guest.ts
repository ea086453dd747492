import { createHash } from 'node:crypto';
import { open, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { expect } from 'vitest';
import { builtCommand } from '../built-command.js';
import { type GuestDisk, type GuestOptions, MountedGuest, type SnapshotFacts } from '../e2e/mounted-guest.js';
import { marked } from '../machine/known-writes.js';
import { devicePath } from '../machine/machine.js';

/** QEMU's bitmaps know no less. */
export const granuleBytes = 65_536;
const writtenBytes = 4096;
const chain = 'c';

interface KnownDisk {
  readonly contents: Buffer;
  /** Granules written since the chain's base, and since the instant of the snapshot that is open. */
  sinceBase: Set<number>;
  sinceInstant: Set<number>;
  /** How the next snapshot of the chain has the disk. */
  mode: 'new' | 'reuse';
}

/** A mounted guest of whose disks each byte is known, and each that has changed since the last success of its chain. */
export class KnownGuest {
  readonly #disks = new Map<string, KnownDisk>();
  #marks = 0;
  #names = 0;
  #open: string | undefined;

  private constructor(
    readonly mounted: MountedGuest,
    private readonly hasAgent: boolean,
  ) {}

  /** Boots a guest with disks of zeros. Not yet mounted. */
  static async make(
    disks: readonly GuestDisk[],
    options: Omit<GuestOptions, 'disks'> = {},
  ): Promise<KnownGuest> {
    const guest = new KnownGuest(await MountedGuest.make({ ...options, disks }), options.agent ?? true);
    for (const { id, bytes } of disks) guest.#know(id, bytes);
    await guest.#linkSockets();
    return guest;
  }

  get machine(): MountedGuest['machine'] {
    return this.mounted.machine;
  }

  /** Where stillfs finds the monitor, whichever QEMU is the guest's at present. */
  get monitorPath(): string {
    return join(this.mounted.folder, 'monitor');
  }

  get agentPath(): string {
    return join(this.mounted.folder, 'agent');
  }

  /** What is killed, and when: see kill-at-step. */
  get killOrders(): string {
    return join(this.mounted.folder, 'kill');
  }

  get stateFolder(): string {
    return join(this.mounted.state, 'guests', '100');
  }

  /** Mounts, or mounts again after whatever has become of the daemon before. `beside`: options for what else is shown. */
  async mount(keys: readonly string[] = [], beside: readonly string[] = []): Promise<void> {
    const ended = this.mounted.end('SIGKILL');
    await this.detach();
    await ended;
    const preload = join(dirname(builtCommand), '../../test/faults/kill-at-step.js');
    const agent = this.hasAgent ? [`agent=${this.agentPath}`] : [];
    const env = { NODE_OPTIONS: `--import=${preload}`, STILLFS_KILL_ORDERS: this.killOrders };
    await this.mounted.mount([`qmp=${this.monitorPath}`, ...agent, ...keys], env, beside);
  }

  /**
   * Takes away what is left of a mount. By force: a daemon that is killed as it tells the kernel of a name, in a folder that somebody
   * waits for, does not end before.
   */
  async detach(): Promise<void> {
    for (const how of ['-f', '-l']) await execa('umount', [how, this.mounted.mountpoint], { reject: false });
  }

  /** Boots the guest again, with the same disks, in a QEMU that listens where the last one did. */
  async boot(): Promise<void> {
    await this.machine.remove();
    await this.mounted.boot();
    await this.#linkSockets();
  }

  /** A name for the chain's next snapshot. */
  nextName(): string {
    return `${chain}@${++this.#names}`;
  }

  /** Has the guest write some to each disk, or to one, where nothing was written for long. */
  async write(...only: string[]): Promise<void> {
    const lines: string[] = [];
    const mark = `m${++this.#marks}`;
    for (const [id, disk] of this.#disks) {
      if (only.length > 0 && !only.includes(id)) continue;
      const granule = (this.#marks * 5) % Math.floor(disk.contents.length / granuleBytes);
      const offset = granule * granuleBytes + 2 * writtenBytes;
      lines.push(
        `yes ${mark} | head -c ${writtenBytes} | dd of=${devicePath(id)} bs=${writtenBytes} iflag=fullblock ` +
          `oflag=direct,seek_bytes seek=${offset} conv=notrunc,fsync status=none`,
      );
      this.wrote(id, offset, marked(mark, writtenBytes));
    }
    await this.machine.output(lines.join(' && '));
  }

  /** Notes what the guest writes. */
  wrote(id: string, offset: number, bytes: Buffer): void {
    const disk = this.#disk(id);
    bytes.copy(disk.contents, offset);
    for (let at = Math.floor(offset / granuleBytes); at * granuleBytes < offset + bytes.length; at++) {
      disk.sinceBase.add(at);
      disk.sinceInstant.add(at);
    }
  }

  /** Takes a snapshot of the chain. */
  async take(name = this.nextName()): Promise<SnapshotFacts> {
    const facts = await this.mounted.take(name);
    this.#open = name;
    for (const disk of this.#disks.values()) disk.sinceInstant = new Set();
    return facts;
  }

  /** The name of the snapshot that is open. */
  get open(): string {
    if (this.#open === undefined) throw new Error('no snapshot is open');
    return this.#open;
  }

  /** Says how it went. After a success the chain's base is this snapshot for the disks in it, whatever happens. */
  async say(outcome: 'success' | 'failure', ...disks: string[]): Promise<void> {
    await writeFile(this.mounted.path(this.open, 'outcome'), `${outcome}\n`);
    if (outcome === 'failure') return;
    for (const [id, disk] of this.#disks) {
      if (disks.length > 0 && !disks.includes(id)) continue;
      disk.sinceBase = disk.sinceInstant;
      disk.mode = 'reuse';
    }
  }

  async end(): Promise<void> {
    await this.mounted.finish(this.open);
    this.#open = undefined;
  }

  /** Notes that a disk's bitmaps are worth nothing any more. */
  forgetBitmap(...ids: string[]): void {
    for (const id of ids) this.#disk(id).mode = 'new';
  }

  /** Notes a disk of zeros that the guest got, or that a disk has another size: what it has grown by is dirty. */
  know(id: string, bytes: number): void {
    const before = this.#disks.get(id)?.contents.length ?? 0;
    this.#know(id, bytes);
    for (let at = before; at < bytes; at += granuleBytes) this.#disk(id).sinceBase.add(at / granuleBytes);
  }

  /** Notes that somebody else gave a disk other bytes. */
  replace(id: string, contents: Buffer): void {
    contents.copy(this.contents(id));
  }

  forget(id: string): void {
    this.#disks.delete(id);
  }

  /** What a disk should hold. */
  contents(id: string): Buffer {
    return this.#disk(id).contents;
  }

  /** Waits until the snapshot that is open says why it is broken. */
  async brokenBy(): Promise<string> {
    const broken = async (): Promise<string | null> => (await this.mounted.facts(this.open)).broken;
    await expect.poll(broken, { timeout: 20_000 }).not.toBeNull();
    return (await broken()) ?? '';
  }

  /** Reads the first block of a disk of the snapshot that is open, past the page cache. */
  async readFirst(disk = 'a'): Promise<void> {
    const file = await open(this.mounted.path(this.open, 'disks', `${disk}.raw`));
    try {
      await file.read(Buffer.alloc(4096), 0, 4096, 0);
    } finally {
      await file.close();
    }
  }

  /** The disks of the snapshot that is open are those. */
  async expectDisks(at: ReadonlyMap<string, string> = this.digests()): Promise<void> {
    for (const [id, digest] of at) {
      const raw = this.mounted.path(this.open, 'disks', `${id}.raw`);
      expect(sha256Of(await readFile(raw)), `${id}.raw`).toBe(digest);
    }
  }

  /** The SHA-256 of what each disk should hold now. */
  digests(): Map<string, string> {
    return new Map([...this.#disks].map(([id, { contents }]) => [id, sha256Of(contents)]));
  }

  /**
   * After a fault: the guest runs, its disks are right, the chain's next increment is the exact union of what was written since its
   * base, and nothing of ours is left anywhere.
   */
  async expectAllRight(): Promise<void> {
    const before = this.digests();
    for (const [id, digest] of before) {
      const told = await this.machine.output(
        `dd if=${devicePath(id)} bs=1M iflag=direct status=none | sha256sum`,
      );
      expect(told.slice(0, 64), `disk ${id} in the guest`).toBe(digest);
    }
    await this.write();
    const facts = await this.take();
    const at = this.digests();
    const expected = this.#expectedDirty();
    await this.write();
    for (const [id, { mode }] of this.#disks) {
      const told = facts.disks.find(({ name }) => name === id);
      expect(told?.mode, `mode of ${id} (${told?.reason ?? ''})`).toBe(mode);
      const granules = dirtyGranules(await this.mounted.dirty(this.open, id));
      expect(granules, `dirty granules of ${id}`).toEqual(expected.get(id));
    }
    await this.expectDisks(at);
    await this.say('success');
    await this.end();
    await this.expectNothingLeft();
  }

  /** Neither in QEMU, nor in the state folder, nor a fleecing file, nor a keeper. */
  async expectNothingLeft(): Promise<void> {
    await expect.poll(() => this.left(), { timeout: 40_000, interval: 50 }).toEqual([]);
  }

  /** One sentence for each thing of ours that is there though no snapshot is open. */
  async left(): Promise<string[]> {
    const left = (await this.mounted.leftInQemu()).map((name) => `${name} in QEMU`);
    const sets = await this.machine.qmp('query-fdsets');
    if (Array.isArray(sets) && sets.length > 0) left.push(`descriptor sets in QEMU: ${JSON.stringify(sets)}`);
    for (const [id, names] of await this.#bitmaps()) {
      if (names.length > 1) left.push(`bitmaps of ${id}: ${names.join(', ')}`);
    }
    for (const name of await readdir(this.stateFolder)) {
      if (name !== 'lock' && name !== 'chains.json') left.push(`${name} in the state folder`);
    }
    for (const name of await readdir(this.mounted.fleecing)) left.push(`${name} in the fleecing folder`);
    for (const link of await links(this.machine.pid)) {
      if (link.startsWith(this.mounted.fleecing)) left.push(`QEMU has ${link}`);
    }
    const sockets = (await readFile('/proc/net/unix', 'utf8')).split('\n');
    left.push(
      ...sockets.filter((line) => line.includes(this.stateFolder)).map((line) => `the socket ${line}`),
    );
    for (const pid of await this.keepers()) left.push(`the keeper ${pid}`);
    return left;
  }

  /** The keepers of this guest. */
  async keepers(): Promise<number[]> {
    const found: number[] = [];
    for (const pid of (await readdir('/proc')).map(Number)) {
      if (!Number.isInteger(pid)) continue;
      const title = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
      if (!/^stillfs keeper/.test(title) && !title.includes('keeper-process.js')) continue;
      if ((await links(pid)).some((link) => link.startsWith(this.stateFolder))) found.push(pid);
    }
    return found;
  }

  /** Resolves when the guest runs, and says how long that took, in milliseconds. */
  async runs(): Promise<number> {
    const begun = Date.now();
    await expect
      .poll(async () => ((await this.machine.qmp('query-status')) as { status: string }).status, {
        timeout: 10_000,
        interval: 20,
      })
      .toBe('running');
    // It runs, and its file systems are not frozen.
    await this.machine.output('true');
    return Date.now() - begun;
  }

  async remove(): Promise<void> {
    await this.mounted.end();
    await this.detach();
    for (const pid of await this.keepers().catch(() => [])) process.kill(pid, 'SIGKILL');
    await this.mounted.remove();
  }

  #expectedDirty(): Map<string, number[]> {
    return new Map(
      [...this.#disks].map(([id, { contents, mode, sinceBase }]) => {
        const all = Array.from(
          { length: Math.ceil(contents.length / granuleBytes) },
          (_, granule) => granule,
        );
        return [id, mode === 'new' ? all : all.filter((granule) => sinceBase.has(granule))];
      }),
    );
  }

  async #bitmaps(): Promise<Array<readonly [string, string[]]>> {
    const devices = (await this.machine.qmp('query-block')) as ReadonlyArray<{
      qdev?: string;
      inserted?: { 'dirty-bitmaps'?: ReadonlyArray<{ name?: string }> };
    }>;
    return devices.map(({ qdev, inserted }) => [
      qdev ?? '',
      (inserted?.['dirty-bitmaps'] ?? []).flatMap(({ name }) => (name?.startsWith('stillfs') ? [name] : [])),
    ]);
  }

  async #linkSockets(): Promise<void> {
    for (const [path, target] of [
      [this.monitorPath, this.machine.qmpPath],
      [this.agentPath, this.machine.agentPath],
    ] as const) {
      await rm(path, { force: true });
      await symlink(target, path);
    }
  }

  #know(id: string, bytes: number): void {
    const before = this.#disks.get(id);
    const contents = Buffer.alloc(bytes);
    before?.contents.copy(contents);
    this.#disks.set(id, {
      contents,
      sinceBase: before?.sinceBase ?? new Set(),
      sinceInstant: before?.sinceInstant ?? new Set(),
      mode: before?.mode ?? 'new',
    });
  }

  #disk(id: string): KnownDisk {
    const disk = this.#disks.get(id);
    if (!disk) throw new Error(`${id} is no disk`);
    return disk;
  }
}

function dirtyGranules(ranges: ReadonlyArray<{ offset: number; length: number }>): number[] {
  return ranges.flatMap(({ offset, length }) =>
    Array.from({ length: Math.ceil(length / granuleBytes) }, (_, index) => offset / granuleBytes + index),
  );
}

/** What the descriptors of a process lead to. */
async function links(pid: number): Promise<string[]> {
  const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => []);
  const found = await Promise.all(
    descriptors.map((descriptor) => readlink(`/proc/${pid}/fd/${descriptor}`).catch(() => '')),
  );
  return found;
}

function sha256Of(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
