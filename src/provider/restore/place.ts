import { randomBytes } from 'node:crypto';
import { link, lstat, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { syncFolder } from '../../durable-file.js';
import { codeOf, hasCode, messageOf, StillError } from '../../errors.js';

/** Where a file is restored to, and the name beside it under which it comes to be. */
export class FilePlace {
  private constructor(
    readonly path: string,
    readonly beside: string,
    private readonly overwrite: boolean,
  ) {}

  /** EEXIST: there is something, and it is not to be overwritten. EINVAL: what is there is no file. ENOENT: it has no folder. */
  static async find(wanted: string, overwrite: boolean): Promise<FilePlace> {
    const path = await mustBeFree(wanted, overwrite);
    const beside = join(dirname(path), `.${basename(path)}.restore-${randomBytes(6).toString('hex')}`);
    return new FilePlace(path, beside, overwrite);
  }

  /** Puts the file that lies beside in its place. What has come there meanwhile is not overwritten unwanted. */
  async take(): Promise<void> {
    if (this.overwrite) await rename(this.beside, this.path);
    else await this.#linkAndRemove();
    await syncFolder(dirname(this.path));
  }

  async leave(): Promise<void> {
    await rm(this.beside, { force: true });
  }

  async #linkAndRemove(): Promise<void> {
    try {
      await link(this.beside, this.path);
    } catch (error) {
      if (hasCode(error, 'EEXIST')) throw exists(this.path);
      // A file system without hard links.
      if (!hasCode(error, 'EPERM') && !hasCode(error, 'EOPNOTSUPP')) throw error;
      await mustBeFree(this.path, false);
      await rename(this.beside, this.path);
      return;
    }
    await rm(this.beside);
  }
}

/** The path itself, or where a link that may be overwritten leads to. */
async function mustBeFree(path: string, overwrite: boolean): Promise<string> {
  try {
    await lstat(path);
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw notThere(path, error);
    await stat(dirname(path)).catch((why: unknown) => {
      throw notThere(dirname(path), why);
    });
    return path;
  }
  if (!overwrite) throw exists(path);
  const real = await realpath(path).catch((error: unknown) => {
    throw notThere(path, error);
  });
  if ((await stat(real)).isFile()) return real;
  throw new StillError('EINVAL', `${path} is no regular file, and is not overwritten`);
}

function exists(path: string): StillError {
  return new StillError('EEXIST', `${path} is there already; --overwrite replaces it`);
}

function notThere(path: string, error: unknown): StillError {
  const why = hasCode(error, 'ENOENT') ? 'there is no such folder' : messageOf(error);
  return new StillError(codeOf(error), `nothing can be restored to ${path}: ${why}`);
}
