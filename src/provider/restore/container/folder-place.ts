import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { lstat, mkdir, readdir, rename, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { syncFolder } from '../../../durable-file.js';
import { codeOf, hasCode, messageOf, StillError } from '../../../errors.js';
import { exchange } from '../../../posix/exchange.js';
import { removeTree } from '../../unfinished/remove-tree.js';
import type { RestoredPart } from '../restored-part.js';

const run = promisify(execFile);

/** What mkfs makes, and no guest has. */
const ofFileSystem = 'lost+found';

/**
 * Where a folder is restored to: beside its place, in a folder of its owner alone, until it is whole. One that is a file system, or a
 * btrfs subvolume, of its own can't be replaced: it has to be empty, and is written to directly.
 */
export class FolderPlace implements RestoredPart {
  #begun = false;

  private constructor(
    readonly path: string,
    /** Undefined: written to directly. */
    private readonly staging: string | undefined,
    private readonly replaces: boolean,
  ) {}

  /** EEXIST: there is something, and it is not to be overwritten; EINVAL: what is there is no folder. */
  static async find(path: string, overwrite: boolean): Promise<FolderPlace> {
    const staging = join(dirname(path), `.${basename(path)}.restore-${randomBytes(6).toString('hex')}`);
    const stats = await lstat(path).catch((error: unknown) => {
      if (!hasCode(error, 'ENOENT')) throw error;
    });
    if (!stats) return new FolderPlace(path, staging, false);
    if (!stats.isDirectory()) throw new StillError('EINVAL', `${path} is no folder, and is not overwritten`);
    const held = await heldIn(path);
    if (stats.dev !== (await stat(dirname(path))).dev) {
      if (held.length === 0) return new FolderPlace(path, undefined, false);
      throw new StillError('EEXIST', `${path} is a file system of its own, and not empty; empty it first`);
    }
    if (held.length > 0 && !overwrite)
      throw new StillError('EEXIST', `${path} is there already, and not empty; --overwrite replaces it`);
    return new FolderPlace(path, staging, held.length > 0);
  }

  /** The folder that is written to. */
  get writing(): string {
    return this.staging === undefined ? this.path : join(this.staging, 'new');
  }

  async begin(): Promise<void> {
    this.#begun = true;
    try {
      if (this.staging !== undefined) await mkdir(this.staging, { mode: 0o700 });
      if (this.staging !== undefined) await mkdir(this.writing, { mode: 0o755 });
    } catch (error) {
      throw new StillError(codeOf(error), `nothing can be restored to ${this.path}: ${messageOf(error)}`);
    }
  }

  async commit(): Promise<void> {
    if (this.staging === undefined) return;
    if (!this.replaces || !(await exchange(this.writing, this.path))) {
      if (this.replaces) await rename(this.path, join(this.staging, 'old'));
      // An empty folder gives way to it.
      await rename(this.writing, this.path);
    }
    await syncFolder(dirname(this.path));
    await removeTree(this.staging);
  }

  async discard(): Promise<void> {
    if (!this.#begun) return;
    if (this.staging !== undefined) await removeTree(this.staging);
    else await emptied(this.path);
  }
}

/** What is in a folder. Names that are not UTF-8 are told wrongly, but told. */
async function heldIn(folder: string): Promise<string[]> {
  return (await readdir(folder)).filter((name) => name !== ofFileSystem);
}

/** Removes what is in a folder, whatever bytes its names are. */
async function emptied(folder: string): Promise<void> {
  const all = ['-mindepth', '1', '-maxdepth', '1', '!', '-name', ofFileSystem];
  await run('find', [folder, ...all, '-exec', 'rm', '-rf', '--one-file-system', '--', '{}', '+']);
}
