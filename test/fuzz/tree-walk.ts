import { isAbort, StillError } from '../../src/errors.js';
import { isShownName } from '../../src/name.js';
import type { Attributes, Inode } from '../../src/tree/attributes.js';
import type { Entry, Tree } from '../../src/tree/tree.js';

/** A hostile image may hold any number of files: so many are looked at. */
const mostFiles = 300;
const chunk = 1 << 18;
const signal = new AbortController().signal;

/** Looks at every file of a tree, each in every way. */
export class TreeWalk {
  readonly findings: string[] = [];
  errors = 0;
  #files = 0;

  /** `inodeLimit`: no file's number may be as large. */
  constructor(
    readonly tree: Tree,
    readonly inodeLimit: bigint,
  ) {}

  async run(): Promise<void> {
    await this.#folder(this.tree.root, 0);
  }

  async #folder(folder: Inode, depth: number): Promise<void> {
    for (let after = 0n; this.#files < mostFiles; ) {
      const entries = await this.#try(() => this.tree.list(folder, after, signal));
      const last = entries?.at(-1);
      if (!entries || !last) return;
      if (last.cookie <= after) return void this.findings.push(`a listing goes back to ${last.cookie}`);
      for (const entry of entries) {
        if (this.#files++ < mostFiles) await this.#entry(folder, entry, depth);
      }
      after = last.cookie;
    }
  }

  async #entry(folder: Inode, { name, inode, found }: Entry, depth: number): Promise<void> {
    if (!isShownName(name)) this.findings.push(`the name ${JSON.stringify(name)} is shown`);
    if (inode >= this.inodeLimit) this.findings.push(`the inode ${inode} is shown`);
    await this.#try(() => this.tree.lookup(folder, name, signal));
    const attributes = await this.#try(() => this.tree.attributes(inode, signal));
    if (!attributes) return;
    if (found && JSON.stringify(found.attributes, plain) !== JSON.stringify(attributes, plain))
      this.findings.push(`inode ${inode} is another one in its listing`);
    const names = (await this.#try(() => this.tree.xattrs(inode, signal))) ?? [];
    for (const each of names.slice(0, 20)) await this.#try(() => this.tree.xattr(inode, each, signal));
    if (attributes.type === 'symlink') await this.#try(() => this.tree.readlink(inode, signal));
    if (attributes.type === 'file') await this.#try(() => this.#read(attributes));
    if (attributes.type === 'directory' && depth < 40) {
      await this.#try(() => this.tree.lookup(inode, '..' as Entry['name'], signal));
      await this.#folder(inode, depth + 1);
    }
  }

  async #read({ inode, size }: Attributes): Promise<void> {
    const { handle } = await this.tree.open(inode, 'read', signal);
    try {
      const step = Math.max(chunk, Math.floor(size / 8));
      for (let at = 0; at < size; at += step) {
        const target = Buffer.alloc(chunk);
        const length = await this.#try(() => this.tree.read(handle, at, target, signal));
        if (length !== undefined && length !== Math.min(chunk, size - at))
          this.findings.push(`${length} bytes are read at ${at} of ${size}`);
      }
      for (let at = 0, turns = 0; at < size && turns < 20; turns++) {
        const data = await this.tree.seek?.(handle, at, 'data', signal);
        if (data === undefined) break;
        at = (await this.tree.seek?.(handle, data, 'hole', signal)) ?? size;
      }
    } finally {
      await this.tree.release(handle);
    }
  }

  async #try<T>(call: () => Promise<T>): Promise<T | undefined> {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof StillError) || isAbort(error)) throw error;
      if (error.code !== 'ENXIO') this.errors++;
      return undefined;
    }
  }
}

function plain(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? `${value}` : value;
}
