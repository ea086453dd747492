import { isUtf8 } from 'node:buffer';
import { constants } from 'node:fs';
import { errnoOf, hasCode, messageOf, StillError } from '../../src/errors.js';
import type { Logger } from '../../src/log.js';
import { isEntryName, type Name, nameFromText, nameToBytes, nameToText } from '../../src/name.js';
import type { Attributes } from '../../src/tree/attributes.js';
import type { Access, Tree } from '../../src/tree/tree.js';
import { Complaints } from '../complaints.js';
import { Forest, type Node } from '../forest/forest.js';
import { readWhole } from '../whole-read.js';
import { type OpenFile, OpenFiles } from './open-files.js';
import type { FileSystemWords, Operations, Rows } from './operations.js';
import { PathNodes } from './path-nodes.js';
import { rowWords, statWords } from './stat-words.js';
import { UnderWay } from './under-way.js';

/** How long an operation may take, in milliseconds: a caller can't be interrupted meanwhile, not even by a kill. */
export interface Limits {
  readonly usual: number;
  /** Of what changes something: a tree's own deadline (a snapshot's is a minute) comes first. */
  readonly changing: number;
}

const defaultLimits: Limits = { usual: 15_000, changing: 90_000 };

/** libfuse takes a listing whole. Beyond this, its memory is no longer worth it. */
const longestListing = 1_000_000;

const accessOf: Readonly<Record<number, Access>> = {
  [constants.O_RDONLY]: 'read',
  [constants.O_WRONLY]: 'write',
  [constants.O_RDWR]: 'read-write',
};
const O_ACCMODE = 3;

/** What a session may be told. */
export interface SessionOptions {
  readonly log: Logger;
  readonly readOnly: boolean;
  readonly limits?: Limits;
  /** How many names are kept. */
  readonly names?: number;
}

/** One mount's conversation with libfuse: what it asks of paths is answered from a forest. */
export class PathSession {
  readonly #forest: Forest;
  readonly #paths: PathNodes;
  readonly #files = new OpenFiles();
  readonly #underWay = new UnderWay();
  readonly #complaints: Complaints;
  readonly #log: Logger;
  readonly #readOnly: boolean;
  readonly #limits: Limits;

  constructor(tree: Tree, options: SessionOptions) {
    this.#log = options.log;
    this.#readOnly = options.readOnly;
    this.#limits = options.limits ?? defaultLimits;
    this.#complaints = new Complaints(options.log);
    this.#forest = new Forest(tree, (node, change) => {
      if (change.kind === 'entry') this.#paths.changed(node, change.name);
    });
    this.#paths = new PathNodes(this.#forest, options.names);
  }

  /** How many operations, nodes, names, trees and open files there are at present. */
  counts(): { requests: number; nodes: number; names: number; trees: number; files: number } {
    return {
      requests: this.#underWay.size,
      nodes: this.#forest.knownNodes,
      names: this.#paths.size,
      trees: this.#forest.livingTrees,
      files: this.#files.size,
    };
  }

  /** Ends what is under way, closes what is open, forgets all names. Operations that come now are refused. */
  async close(): Promise<void> {
    this.#underWay.end(new StillError('ECONNABORTED', 'the mount has ended'));
    const closing = await Promise.allSettled(this.#files.removeAll().map(close));
    for (const result of closing) {
      if (result.status === 'rejected')
        this.#log.warn({ error: result.reason as unknown }, 'closing a file failed');
    }
    this.#paths.clear();
    this.#forest.close();
  }

  /** The operations as the package is to call them. */
  readonly operations: Operations = {
    getattr: (path, done) =>
      this.#answer(
        'getattr',
        path,
        (signal) => this.#attributes(path, signal),
        (found) => done(0, statWords(found)),
        done,
      ),
    fgetattr: (path, handle, done) =>
      this.#answer(
        'fgetattr',
        path,
        (signal) =>
          handle === 0
            ? this.#attributes(path, signal)
            : this.#forest.attributes(this.#files.get(handle).node, signal),
        (found) => done(0, statWords(found)),
        done,
      ),
    readlink: (path, done) =>
      this.#answer(
        'readlink',
        path,
        (signal) => this.#target(path, signal),
        (target) => done(0, target),
        done,
      ),
    readdir: (path, done) =>
      this.#answer(
        'readdir',
        path,
        (signal) => this.#rows(path, signal),
        (rows) => done(0, rows),
        done,
      ),
    getxattr: (path, name, room, done) =>
      this.#answer(
        'getxattr',
        path,
        async (signal) =>
          fitting(
            room,
            await this.#paths.use(path, signal, ({ planted, inode }) =>
              planted.tree.xattr(inode, nameFromText(name), signal),
            ),
          ),
        (value) => done(value.length, value),
        done,
      ),
    listxattr: (path, room, done) =>
      this.#answer(
        'listxattr',
        path,
        async (signal) => fitting(room, await this.#xattrs(path, signal)),
        (list) => done(list.length, list),
        done,
      ),
    statfs: (path, done) =>
      this.#answer(
        'statfs',
        path,
        (signal) => this.#capacity(path, signal),
        (words) => done(0, words),
        done,
      ),

    open: (path, flags, done) =>
      this.#answer(
        'open',
        path,
        (signal) => this.#open(path, flags, signal),
        (number) => done(0, number),
        done,
      ),
    read: (path, number, target, length, offset, done) =>
      this.#answer(
        'read',
        path,
        (signal) => this.#read(path, number, length, offset, signal),
        (bytes) => {
          target.set(bytes);
          done(bytes.length);
        },
        done,
      ),
    write: (path, number, bytes, length, offset, done) => {
      // libfuse takes its memory back at the answer, which may come before the tree is done with the bytes.
      const copy = Uint8Array.prototype.slice.call(bytes, 0, length);
      this.#answer(
        'write',
        path,
        (signal) => this.#write(path, number, copy, offset, signal),
        () => done(length),
        done,
        this.#limits.changing,
      );
    },
    fsync: (path, _dataOnly, number, done) =>
      this.#answer(
        'fsync',
        path,
        async (signal) => {
          const { node, handle } = this.#files.get(number);
          await node.planted.tree.sync?.(handle, signal);
        },
        () => done(0),
        done,
        this.#limits.changing,
      ),
    release: (path, number, done) =>
      this.#answer(
        'release',
        path,
        () => close(this.#files.remove(number)),
        () => done(0),
        done,
      ),
    truncate: (path, size, done) =>
      this.#answer(
        'truncate',
        path,
        (signal) => this.#paths.use(path, signal, (node) => this.#truncate(path, node, size, signal)),
        () => done(0),
        done,
        this.#limits.changing,
      ),
    ftruncate: (path, number, size, done) =>
      this.#answer(
        'ftruncate',
        path,
        (signal) => this.#truncate(path, this.#files.get(number).node, size, signal),
        () => done(0),
        done,
        this.#limits.changing,
      ),
    mkdir: (path, mode, done) =>
      this.#answer(
        'mkdir',
        path,
        (signal) => this.#mkdir(path, mode & 0o7777, signal),
        () => done(0),
        done,
        this.#limits.changing,
      ),
    rmdir: (path, done) =>
      this.#answer(
        'rmdir',
        path,
        (signal) => this.#rmdir(path, signal),
        () => done(0),
        done,
        this.#limits.changing,
      ),
  };

  /** Begins an operation. Whatever happens, libfuse gets exactly one answer. */
  #answer<T>(
    operation: string,
    path: string,
    work: (signal: AbortSignal) => Promise<T>,
    succeed: (value: T) => void,
    fail: (result: number) => void,
    limit: number = this.#limits.usual,
  ): void {
    this.#underWay
      .run(limit, async (signal) => work(signal))
      .then(succeed)
      .catch((error: unknown) => {
        fail(-errnoOf(error));
        if (hasCode(error, 'ETIMEDOUT'))
          this.#complaints.once(`${operation} of ${path} failed: ${messageOf(error)}`);
        else this.#complaints.failed(operation, path, error);
      });
  }

  #attributes(path: string, signal: AbortSignal): Promise<Attributes> {
    return this.#paths.use(
      path,
      signal,
      async (node, attributes) => attributes ?? this.#forest.attributes(node, signal),
    );
  }

  async #target(path: string, signal: AbortSignal): Promise<string> {
    const target = await this.#paths.use(path, signal, ({ planted, inode }) =>
      planted.tree.readlink(inode, signal),
    );
    if (isUtf8(target)) return Buffer.from(target).toString('utf8');
    this.#complaints.once(`the target of ${path} is not UTF-8, so this transport can't show it`);
    throw new StillError('EILSEQ', `the target of ${path} is not UTF-8`);
  }

  async #rows(path: string, signal: AbortSignal): Promise<Rows> {
    const rows: Rows = { names: ['.', '..'], words: [rowWords('directory'), rowWords('directory')] };
    let leftOut = 0;
    await this.#paths.use(path, signal, async ({ planted, inode }) => {
      for (let after = 0n; ; ) {
        const entries = await planted.tree.list(inode, after, signal);
        signal.throwIfAborted();
        for (const { name, type, cookie } of entries) {
          after = cookie;
          const text = textOf(name);
          if (text === undefined) leftOut++;
          if (text === undefined || !isEntryName(name)) continue;
          rows.names.push(text);
          rows.words.push(rowWords(type));
        }
        if (entries.length === 0) return;
        if (rows.names.length + leftOut > longestListing) {
          throw new StillError(
            'EOVERFLOW',
            `${path} has more than ${longestListing} entries: this transport lists a folder whole, the kernel transport does not`,
          );
        }
      }
    });
    if (leftOut > 0) {
      this.#complaints.once(
        `${path} lists ${leftOut} ${leftOut === 1 ? 'entry' : 'entries'} fewer than there are: names that are not UTF-8 can't be shown by this transport`,
      );
    }
    return rows;
  }

  async #xattrs(path: string, signal: AbortSignal): Promise<Uint8Array> {
    const names = await this.#paths.use(path, signal, ({ planted, inode }) =>
      planted.tree.xattrs(inode, signal),
    );
    const shown = names.filter((name) => textOf(name) !== undefined);
    if (shown.length < names.length) {
      this.#complaints.once(
        `${path} has extended attributes whose names are not UTF-8: they can't be shown by this transport`,
      );
    }
    return nameToBytes(shown.map((name) => `${name}\0`).join('') as Name);
  }

  async #capacity(path: string, signal: AbortSignal): Promise<FileSystemWords> {
    const capacity = await this.#paths.use(path, signal, async ({ planted }) =>
      planted.tree.capacity?.(signal),
    );
    const { total, free, files } = capacity ?? { total: 0, free: 0, files: 0 };
    // The package hands counts on as 32 bits: blocks large enough that they fit.
    let blockBytes = 4096;
    while (total / blockBytes >= 2 ** 32) blockBytes *= 2;
    const freeBlocks = Math.floor(free / blockBytes);
    return {
      bsize: blockBytes,
      frsize: blockBytes,
      blocks: Math.floor(total / blockBytes),
      bfree: freeBlocks,
      bavail: freeBlocks,
      files: Math.min(files, 2 ** 32 - 1),
      namemax: 255,
    };
  }

  async #open(path: string, flags: number, signal: AbortSignal): Promise<number> {
    const access = accessOf[flags & O_ACCMODE] ?? 'read-write';
    return this.#paths.use(path, signal, async (node) => {
      const { tree } = node.planted;
      if (access !== 'read' && (this.#readOnly || !(tree.write || tree.discard))) {
        throw new StillError('EROFS', `${path} can't be opened for writing`);
      }
      const { handle } = await tree.open(node.inode, access, signal);
      const file = { node, handle, writable: access !== 'read', letGo: this.#forest.hold(node) };
      if (!signal.aborted) return this.#files.add(file);
      await close(file);
      throw signal.reason;
    });
  }

  async #read(
    path: string,
    number: number,
    length: number,
    offset: number,
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    const { node, handle } = this.#files.get(number);
    // Not libfuse's memory: a tree may write to its target after the answer.
    const target = Buffer.allocUnsafe(length);
    const { tree } = node.planted;
    const whole = { tree, inode: node.inode, handle, offset, path: () => path };
    return target.subarray(0, await readWhole(whole, target, signal));
  }

  async #write(
    path: string,
    number: number,
    bytes: Uint8Array,
    offset: number,
    signal: AbortSignal,
  ): Promise<void> {
    const { node, handle, writable } = this.#files.get(number);
    const { tree } = node.planted;
    if (!writable || !tree.write) throw new StillError('EROFS', `${path} can't be written`);
    await tree.write(handle, offset, bytes, signal);
  }

  async #truncate(path: string, node: Node, size: number, signal: AbortSignal): Promise<void> {
    const { tree } = node.planted;
    if (this.#readOnly || !tree.truncate)
      throw new StillError('EROFS', `the length of ${path} can't be changed`);
    await tree.truncate(node.inode, size, signal);
  }

  #mkdir(path: string, permissions: number, signal: AbortSignal): Promise<void> {
    return this.#paths.useParent(path, signal, async (folder, name) => {
      const { planted } = folder;
      const { tree } = planted;
      if (this.#readOnly || !tree.mkdir) throw new StillError('EROFS', `${path} can't be made`);
      try {
        const { attributes } = await tree.mkdir(folder.inode, name, permissions, signal);
        // libfuse looks the folder up next; the tree is told that the inode it gave is not kept.
        const number = this.#forest.numberOf(planted, attributes.inode);
        this.#forest.remember({ number, planted, inode: attributes.inode }, { folder, name });
        this.#forest.forget(number, 1);
      } finally {
        this.#paths.changed(folder, name);
      }
    });
  }

  #rmdir(path: string, signal: AbortSignal): Promise<void> {
    return this.#paths.useParent(path, signal, async (folder, name) => {
      const { tree } = folder.planted;
      if (this.#readOnly || !tree.rmdir) throw new StillError('EROFS', `${path} can't be removed`);
      try {
        await tree.rmdir(folder.inode, name, signal);
      } finally {
        this.#paths.changed(folder, name);
      }
    });
  }
}

async function close(file: OpenFile): Promise<void> {
  try {
    await file.node.planted.tree.release(file.handle);
  } finally {
    file.letGo();
  }
}

/** A name as the package can pass it on; undefined where it is not UTF-8. */
function textOf(name: Name): string | undefined {
  return isUtf8(nameToBytes(name)) ? nameToText(name) : undefined;
}

/** A value that fits into a caller's room, or any where the caller asks for its length alone (room 0). */
function fitting(room: number, value: Uint8Array): Uint8Array {
  if (room === 0 || value.length <= room) return value;
  throw new StillError('ERANGE', `${value.length} bytes do not fit into ${room}`);
}
