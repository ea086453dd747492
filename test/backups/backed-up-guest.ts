import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { execa, type ResultPromise } from 'execa';
import { command, type Run, run } from '../e2e/command-line.js';
import { guestSha256 } from '../e2e/increments.js';
import { type GuestOptions, MountedGuest } from '../e2e/mounted-guest.js';
import { restoredSha256, storedBackups } from './stored-backup.js';

type Options = { reject: false; stdin: 'ignore'; env: Readonly<Record<string, string>> };
/** A backup that is under way. */
export type Child = ResultPromise<Options>;

/** Starts a program whose end, a failure too, is for the caller to look at. */
export function startQuietly(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Child {
  const quiet: Options = { reject: false, stdin: 'ignore', env };
  return execa(program, args, quiet);
}

/** A command that is under way. */
interface Telling {
  readonly stdout: NodeJS.ReadableStream;
  finally(ended: () => void): unknown;
}

/** Resolves when a command has told what is looked for, or has ended. */
export async function heard(child: Telling, sought: RegExp): Promise<void> {
  let text = '';
  await new Promise<void>((resolve) => {
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString('utf8');
      if (sought.test(text)) resolve();
    });
    child.finally(resolve);
  });
}

/** A running VM that is backed up into a store, and what it said of its disks each time. */
export class BackedUpGuest {
  readonly store: string;
  readonly guestFolder: string;
  /** The providers' TMPDIR: what they leave there is theirs for certain. */
  readonly temporary: string;
  /** The sha256 of each disk at each backup, as the guest computed them. */
  readonly #recorded = new Map<string, Record<string, string>>();
  readonly #lookedAt = new Set<string>();

  private constructor(
    readonly guest: MountedGuest,
    private readonly disks: readonly string[],
  ) {
    this.store = join(guest.folder, 'store');
    this.guestFolder = join(this.store, '100');
    this.temporary = join(guest.folder, 'tmp');
  }

  /** Boots the VM; `disks` are its disks' ids. It is not mounted yet. */
  static async make(options: GuestOptions): Promise<BackedUpGuest> {
    const guest = await MountedGuest.make(options);
    const made = new BackedUpGuest(
      guest,
      options.disks.map(({ id }) => id),
    );
    await mkdir(made.store);
    await mkdir(made.temporary);
    return made;
  }

  /** `stillfs backup 100` with the mount, the store and these options. */
  arguments(...options: string[]): string[] {
    return ['backup', '100', '--mount', this.guest.mountpoint, '--store', this.store, ...options];
  }

  run(...options: string[]): Promise<Run> {
    return run(process.execPath, [command, ...this.arguments(...options)], { TMPDIR: this.temporary });
  }

  /** Starts a backup that tells its events (`--json`). */
  start(options: readonly string[], env: Readonly<Record<string, string>> = {}): Child {
    const args = [command, ...this.arguments('--json', ...options)];
    return startQuietly(process.execPath, args, { TMPDIR: this.temporary, ...env });
  }

  /** Backs up, keeps what the guest says of its disks at that moment, and gives the backup's folder. */
  backup(...options: string[]): Promise<string> {
    return this.backupDuring(async () => undefined, ...options);
  }

  /** The same, with something happening as soon as the snapshot is taken. */
  async backupDuring(happening: () => Promise<void>, ...options: string[]): Promise<string> {
    const hashes = await this.guestHashes();
    const before = await this.published();
    const child = this.start(options);
    await heard(child, /took the snapshot/);
    await happening();
    const { exitCode, stderr, stdout } = await child;
    if (exitCode !== 0) throw new Error(`exit code ${exitCode}: ${stdout}${stderr}`);
    const [made, ...others] = (await this.backups()).filter((name) => !before.includes(name));
    if (made === undefined || others.length > 0) throw new Error(`made ${made} and ${others}`);
    this.#recorded.set(made, hashes);
    return join(this.guestFolder, made);
  }

  /** Keeps what the guest says for a backup that came to be otherwise. */
  record(backup: string, hashes: Record<string, string>): void {
    this.#recorded.set(backup, hashes);
  }

  /** No longer expects backups to be there. */
  forget(backups: readonly string[]): void {
    for (const backup of backups) this.#recorded.delete(backup);
  }

  async guestHashes(): Promise<Record<string, string>> {
    const hashes: Record<string, string> = {};
    for (const disk of this.disks) hashes[disk] = await guestSha256(this.guest.machine, disk);
    return hashes;
  }

  /** The names of the backups, oldest first. */
  async backups(): Promise<string[]> {
    return (await readdir(this.store)).includes('100') ? storedBackups(this.guestFolder) : [];
  }

  /** The same, whatever else a killed provider has left beside them. */
  async published(): Promise<string[]> {
    if (!(await readdir(this.store)).includes('100')) return [];
    return (await readdir(this.guestFolder)).filter((name) => !name.startsWith('.')).sort();
  }

  /**
   * Disks of backups that are not, as QEMU reads them, what the guest had (`DISK of BACKUP`): of all backups, or of those that were not
   * looked at yet.
   */
  async wrong(which: 'all' | 'new' = 'all'): Promise<string[]> {
    const wrong: string[] = [];
    for (const [name, hashes] of this.#recorded) {
      if (which === 'new' && this.#lookedAt.has(name)) continue;
      this.#lookedAt.add(name);
      const stored = (await readdir(join(this.guestFolder, name)))
        .filter((file) => file.endsWith('.qcow2'))
        .map((file) => file.slice(0, -'.qcow2'.length));
      for (const disk of stored)
        if ((await restoredSha256(join(this.guestFolder, name), disk)) !== hashes[disk])
          wrong.push(`${disk} of ${name}`);
    }
    return wrong;
  }

  /** What backups have left: open snapshots, sockets, unfinished folders. */
  async left(): Promise<string[]> {
    const sockets = await readdir(this.temporary);
    const unfinished = (await readdir(this.guestFolder)).filter(
      (name) => name.startsWith('.') && name !== '.lock',
    );
    return [...(await readdir(this.guest.path())), ...sockets, ...unfinished];
  }

  remove(): Promise<void> {
    return this.guest.remove();
  }
}
