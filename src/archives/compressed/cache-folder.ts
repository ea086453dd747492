import { createHash, randomUUID } from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, rename, stat, unlink, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode } from '../../errors.js';

/** Beside this age an unfinished file is nobody's any more, in milliseconds. */
const unfinishedAge = 24 * 3600 * 1000;
/** How many new bytes it takes until the folder is looked through again, as a part of the limit. */
const sweepPart = 16;

/**
 * A folder of files that can all be made again, with a limit: what was not used for the longest time goes first. Several
 * processes may share it; a file that is thrown out while another has it open stays readable there. Names that begin
 * with `.` are unfinished.
 */
export class CacheFolder {
  readonly path: string;
  readonly #mostBytes: number;
  #unswept = Number.POSITIVE_INFINITY;
  #sweeping: Promise<void> | undefined;

  /** `mostBytes`: what all files together may have. */
  constructor(path: string, mostBytes: number) {
    this.path = path;
    this.#mostBytes = mostBytes;
  }

  get mostBytes(): number {
    return this.#mostBytes;
  }

  /** The name of what belongs to something with that identity. */
  static nameOf(identity: string, kind: string): string {
    return `${createHash('sha256').update(identity).digest('hex').slice(0, 40)}.${kind}`;
  }

  pathOf(name: string): string {
    return join(this.path, name);
  }

  /** Says that a file is in use: it goes later. */
  async touch(name: string): Promise<void> {
    const now = new Date();
    await utimes(this.pathOf(name), now, now).catch(() => undefined);
  }

  /**
   * Makes a file: `write` fills it, then it gets its name. A full disk (ENOSPC, EDQUOT) is met by throwing out half of
   * what is there, once; then the error is the caller's.
   */
  async put(name: string, bytes: number, write: (file: FileHandle) => Promise<void>): Promise<void> {
    await this.#makeRoom(bytes);
    try {
      await this.#write(name, write);
    } catch (error) {
      if (!hasCode(error, 'ENOSPC') && !hasCode(error, 'EDQUOT')) throw error;
      await this.shrink(0.5);
      await this.#write(name, write);
    }
  }

  async drop(name: string): Promise<void> {
    await unlink(this.pathOf(name)).catch(() => undefined);
  }

  /** Throws out the oldest files until a part of the bytes that are there is left. */
  async shrink(part: number): Promise<void> {
    await this.#throwOut((bytes) => bytes * part);
  }

  async #write(name: string, write: (file: FileHandle) => Promise<void>): Promise<void> {
    await mkdir(this.path, { recursive: true, mode: 0o700 });
    const unfinished = this.pathOf(`.${name}.${randomUUID()}`);
    const file = await open(unfinished, 'wx', 0o600);
    try {
      try {
        await write(file);
      } finally {
        await file.close();
      }
      await rename(unfinished, this.pathOf(name));
    } catch (error) {
      await unlink(unfinished).catch(() => undefined);
      throw error;
    }
  }

  async #makeRoom(bytes: number): Promise<void> {
    this.#unswept += bytes;
    if (this.#unswept < this.#mostBytes / sweepPart) return;
    const most = this.#mostBytes * (1 - 1 / sweepPart) - bytes;
    this.#sweeping ??= this.#throwOut(() => most).finally(() => {
      this.#sweeping = undefined;
    });
    await this.#sweeping;
    this.#unswept = 0;
  }

  async #throwOut(mostOf: (bytes: number) => number): Promise<void> {
    const names = await readdir(this.path).catch(() => []);
    const now = Date.now();
    const files: Array<{ name: string; bytes: number; used: number }> = [];
    for (const name of names) {
      const stats = await stat(this.pathOf(name)).catch(() => undefined);
      if (!stats?.isFile()) continue;
      const unfinished = name.startsWith('.');
      if (unfinished && now - stats.mtimeMs > unfinishedAge) await this.drop(name);
      else if (!unfinished) files.push({ name, bytes: stats.blocks * 512, used: stats.mtimeMs });
    }
    let bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    const most = mostOf(bytes);
    files.sort((a, b) => a.used - b.used);
    for (const file of files) {
      if (bytes <= most) return;
      await this.drop(file.name);
      bytes -= file.bytes;
    }
  }
}
