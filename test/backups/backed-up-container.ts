import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { command, type Run, run } from '../e2e/command-line.js';
import { RunningContainer } from '../e2e/running-container.js';
import { output } from '../e2e/served-mount.js';
import { type Child, startQuietly } from './backed-up-guest.js';
import { storedBackups } from './stored-backup.js';

/** What `backup.json` says of a container, as far as tests look at it. */
export interface DescribedContainer {
  readonly type: string;
  readonly chain: string | null;
  readonly archive: { readonly file: string; readonly sums?: string; readonly storedBytes: number };
  readonly excluded: { readonly patterns: readonly string[]; readonly mountPoints: readonly string[] };
  readonly omitted: ReadonlyArray<{ readonly path: string; readonly reason: string }>;
}

/** A running container that is backed up into a store. */
export class BackedUpContainer {
  readonly store: string;
  readonly guestFolder: string;
  /** The providers' TMPDIR: what they leave there is theirs for certain. */
  readonly temporary: string;

  private constructor(readonly container: RunningContainer) {
    this.store = join(container.folder, 'store');
    this.guestFolder = join(this.store, '201');
    this.temporary = join(container.folder, 'tmp');
  }

  static async make(): Promise<BackedUpContainer> {
    const made = new BackedUpContainer(await RunningContainer.make());
    await mkdir(made.store);
    await mkdir(made.temporary);
    return made;
  }

  arguments(...options: string[]): string[] {
    const { mountpoint } = this.container;
    return ['backup', '201', '--mount', mountpoint, '--store', this.store, ...options];
  }

  run(...options: string[]): Promise<Run> {
    return run(process.execPath, [command, ...this.arguments(...options)], { TMPDIR: this.temporary });
  }

  /** Starts a backup that tells its events (`--json`). */
  start(options: readonly string[], env: Readonly<Record<string, string>> = {}): Child {
    const args = [command, ...this.arguments('--json', ...options)];
    return startQuietly(process.execPath, args, { TMPDIR: this.temporary, ...env });
  }

  /** Backs up and gives the backup's folder, and what the command said. */
  async backup(
    ...options: string[]
  ): Promise<{ folder: string; said: string; described: DescribedContainer }> {
    const before = await this.published();
    const { exitCode, stdout, stderr } = await this.run(...options);
    if (exitCode !== 0) throw new Error(`exit code ${exitCode}: ${stdout}${stderr}`);
    const [made, ...others] = (await this.backups()).filter((name) => !before.includes(name));
    if (made === undefined || others.length > 0) throw new Error(`made ${made} and ${others}`);
    const folder = join(this.guestFolder, made);
    const described = JSON.parse(await readFile(join(folder, 'backup.json'), 'utf8'));
    return { folder, said: `${stdout}${stderr}`, described };
  }

  /** The names of the backups, oldest first. */
  async backups(): Promise<string[]> {
    return (await readdir(this.store)).includes('201') ? storedBackups(this.guestFolder) : [];
  }

  /** The same, whatever else a killed provider has left beside them. */
  async published(): Promise<string[]> {
    if (!(await readdir(this.store)).includes('201')) return [];
    return (await readdir(this.guestFolder)).filter((name) => !name.startsWith('.')).sort();
  }

  /** What backups have left: snapshots, open or dropped, what was passed to programs, unfinished folders. */
  async left(): Promise<string[]> {
    const names = (await readdir(this.store)).includes('201') ? await readdir(this.guestFolder) : [];
    const unfinished = names.filter((name) => name.startsWith('.') && name !== '.lock');
    return [
      ...(await readdir(this.container.path())),
      ...(await this.container.left()),
      ...(await readdir(this.temporary)),
      ...unfinished,
    ];
  }

  remove(): Promise<void> {
    return this.container.remove();
  }
}

/** Unpacks a container's backup by the tools that go with its form, and gives the folder of its files. */
export async function unpacked(backup: string, to: string): Promise<string> {
  const files = await readdir(backup);
  if (files.includes('rootfs')) return join(backup, 'rootfs');
  const archive = files.find((name) => /^archive\.(tar|tar\.zst|sqfs)$/.test(name));
  if (archive === undefined) throw new Error(`${backup} holds no archive: ${files}`);
  const path = join(backup, archive);
  await output('rm', '-rf', to);
  if (archive.endsWith('.sqfs')) {
    await output('unsquashfs', '-q', '-n', '-d', to, path);
  } else {
    await mkdir(to);
    const all = ['--acls', '--xattrs', '--xattrs-include=*', '--numeric-owner', '--same-permissions'];
    await output('tar', '--extract', `--file=${path}`, `--directory=${to}`, ...all);
  }
  return to;
}
