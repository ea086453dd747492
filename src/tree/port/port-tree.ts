import type { MessagePort, Worker } from 'node:worker_threads';
import { LRUCache } from 'lru-cache';
import { atMost } from '../../entry-limit.js';
import { StillError } from '../../errors.js';
import { type Name, nameToText } from '../../name.js';
import { SpareMemory } from '../../port/spare-memory.js';
import type { Attributes, Inode } from '../attributes.js';
import type { Access, Capacity, Change, Entry, Found, Opened, Tree } from '../tree.js';
import { Foresight } from './ahead/foresight.js';
import type { OptionalOperation, Request, ToClient } from './messages.js';
import { parsePacked, unpackEntries } from './packed-entries.js';
import * as parse from './parse.js';
import { PortRequests } from './port-requests.js';

/** The memory that is kept for reads to come, bytes. */
const keptMemory = 8 * 1024 * 1024;
const mostEnds = 64;
const mostKnown = 8192;
const mostKnownFolders = 16_384;

/**
 * A tree at the other end of a port (`serveTree`). Each operation is one message there and one back.
 *
 * Ways in which it differs from the tree that it stands for: it has no grafts and no `passthrough`; the waits of
 * operations that change something end when the tree says so, so that their outcome is the true one.
 */
export class PortTree implements Tree {
  readonly #requests: PortRequests;
  readonly #listeners = new Set<(change: Change) => void>();
  readonly #files = new Map<number, parse.RemoteFile>();
  #lastHandle = 0;
  /** What holds as long as the tree, and was told with a look-up. */
  readonly #known = new LRUCache<Inode, Attributes>(atMost(mostKnown));
  /** The same of folders, also those that were listed, which are opened again by every walk: files must not drive them out. */
  readonly #knownFolders = new LRUCache<Inode, Attributes>(atMost(mostKnownFolders));
  /** None for a tree that tells of changes: what came ahead could be what it was before. */
  readonly #foresight: Foresight | undefined;
  /** The cookies that nothing follows, by folder. */
  readonly #ends = new LRUCache<Inode, bigint>({ max: mostEnds });
  readonly #memory = new SpareMemory(keptMemory);
  #closing: Promise<void> | undefined;
  /** What else there is to end when the tree is closed, and before `close` returns. */
  readonly #end: () => Promise<void>;

  readonly root: Inode;
  seek?: NonNullable<Tree['seek']>;
  write?: NonNullable<Tree['write']>;
  discard?: NonNullable<Tree['discard']>;
  sync?: NonNullable<Tree['sync']>;
  mkdir?: NonNullable<Tree['mkdir']>;
  rmdir?: NonNullable<Tree['rmdir']>;
  truncate?: NonNullable<Tree['truncate']>;
  forget?: NonNullable<Tree['forget']>;
  capacity?: NonNullable<Tree['capacity']>;
  watch?: NonNullable<Tree['watch']>;

  constructor(
    port: MessagePort | Worker,
    root: Inode,
    operations: readonly OptionalOperation[],
    end: () => Promise<void>,
  ) {
    this.#requests = new PortRequests(port);
    this.#end = end;
    this.root = root;
    if (!operations.includes('watch'))
      this.#foresight = new Foresight((want) => this.#requests.tell(want), !operations.includes('forget'));
    for (const operation of operations) this.#offer(operation);
  }

  /** Whether the other end owes an answer. */
  get awaited(): boolean {
    return this.#requests.awaited || this.#foresight?.awaited === true;
  }

  receive(message: ToClient): void {
    switch (message.kind) {
      case 'answer':
      case 'failure':
        this.#requests.answered(message);
        return;
      case 'files ahead':
      case 'listings ahead':
        if (!this.#requests.broken) this.#foresight?.arrived(message);
        return;
      case 'change':
        for (const listener of this.#listeners) listener(message.change);
        return;
      default:
        return;
    }
  }

  /** Nothing will ever come from the port again: every operation fails, now and later. */
  break(reason: StillError): void {
    if (this.#requests.broken) return;
    this.#requests.break(reason);
    this.#memory.clear();
    this.#known.clear();
    this.#knownFolders.clear();
    this.#foresight?.clear();
  }

  async lookup(folder: Inode, name: Name, signal: AbortSignal): Promise<Found> {
    const whole = this.#foresight?.opensWhatItFinds === true;
    const answer = await this.#requests.ask({ operation: 'lookup', folder, name, whole }, signal);
    const { found, content } = parse.parseLookup(answer);
    const { attributes } = found;
    this.#learn(attributes);
    if (attributes) this.#foresight?.found(attributes, content);
    return found;
  }

  async attributes(inode: Inode, signal: AbortSignal): Promise<Attributes> {
    this.#requests.mustBeServed(signal);
    const known = this.#known.get(inode) ?? this.#knownFolders.get(inode);
    if (known) return known;
    return parse.parseAttributes(await this.#requests.ask({ operation: 'attributes', inode }, signal));
  }

  async list(folder: Inode, after: bigint, signal: AbortSignal): Promise<readonly Entry[]> {
    this.#requests.mustBeServed(signal);
    if (after !== 0n && this.#ends.get(folder) === after) return [];
    const packed =
      (await this.#foresight?.listing({ folder, after }, signal)) ??
      parsePacked(await this.#requests.ask({ operation: 'list', folder, after }, signal));
    const entries = unpackEntries(packed);
    const end = entries.at(-1)?.cookie;
    if (packed.last && end !== undefined && !this.watch) this.#ends.set(folder, end);
    else this.#ends.delete(folder);
    // Files are known to the kernel from here on; folders are asked about again when they are opened.
    for (const { type, found } of entries) if (type === 'directory') this.#learn(found?.attributes);
    this.#foresight?.listed(folder, after, entries, packed.last ? undefined : end);
    return entries;
  }

  async readlink(inode: Inode, signal: AbortSignal): Promise<Uint8Array> {
    return parse.parseBytes(await this.#requests.ask({ operation: 'readlink', inode }, signal));
  }

  async xattr(inode: Inode, name: Name, signal: AbortSignal): Promise<Uint8Array> {
    this.#requests.mustBeServed(signal);
    if (this.#isBare(inode))
      throw new StillError('ENODATA', `inode ${inode} has no attribute ${nameToText(name)}`);
    return parse.parseBytes(await this.#requests.ask({ operation: 'xattr', inode, name }, signal));
  }

  async xattrs(inode: Inode, signal: AbortSignal): Promise<readonly Name[]> {
    this.#requests.mustBeServed(signal);
    if (this.#isBare(inode)) return [];
    return parse.parseNames(await this.#requests.ask({ operation: 'xattrs', inode }, signal));
  }

  async open(inode: Inode, access: Access, signal: AbortSignal): Promise<Opened> {
    this.#requests.mustBeServed(signal);
    const content = access === 'read' ? this.#foresight?.opened(inode) : undefined;
    if (content) return this.#opened({ cache: 'keep', content });
    const releaseLate = (value: unknown): void => {
      // Nobody can be told of a failure to close what nobody has opened.
      this.#letGo(parse.parseOpened(value)).catch(() => undefined);
    };
    const request: Request = { operation: 'open', inode, access };
    return this.#opened(parse.parseOpened(await this.#requests.ask(request, signal, [], releaseLate)));
  }

  async read(handle: number, offset: number, target: Uint8Array, signal: AbortSignal): Promise<number> {
    const file = this.#file(handle);
    if ('content' in file) {
      const bytes = file.content.subarray(offset, offset + target.byteLength);
      target.set(bytes);
      return bytes.length;
    }
    const length = target.byteLength;
    const memory = this.#memory.take(length);
    const request: Request = {
      operation: 'read',
      handle: file.handle,
      offset,
      length,
      ...(memory && { memory }),
    };
    const answer = await this.#requests.ask(request, signal, memory ? [memory] : [], (value) =>
      this.#keepMemory(parse.parseRead(value, length).memory),
    );
    const read = parse.parseRead(answer, length);
    target.set(new Uint8Array(read.memory, 0, read.length));
    this.#keepMemory(read.memory);
    return read.length;
  }

  async release(handle: number): Promise<void> {
    const file = this.#file(handle);
    this.#files.delete(handle);
    await this.#letGo(file);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      if (!this.#requests.broken) await this.#requests.ask({ operation: 'close' }, undefined);
    } finally {
      this.break(new StillError('EIO', 'the tree was closed'));
      this.#listeners.clear();
      await this.#end();
    }
  }

  /** Gives this tree an operation that the hosted one has. */
  #offer(operation: OptionalOperation): void {
    switch (operation) {
      case 'seek':
        this.seek = async (handle, offset, wanted, signal) => {
          const file = this.#file(handle);
          if ('content' in file) return seekContent(file.content.length, offset, wanted);
          const request: Request = { operation, handle: file.handle, offset, wanted };
          return parse.parseWhole(await this.#requests.ask(request, signal));
        };
        return;
      case 'write':
        this.write = async (handle, offset, bytes, signal) => {
          // In memory of its own: sending a view would copy all the memory that it is a view of.
          const own = new Uint8Array(bytes);
          const at = { handle: this.#remote(handle), offset };
          await this.#requests.change({ operation, ...at, bytes: own }, signal, [own.buffer]);
        };
        return;
      case 'discard':
        this.discard = async (handle, offset, length, signal) => {
          await this.#requests.change({ operation, handle: this.#remote(handle), offset, length }, signal);
        };
        return;
      case 'sync':
        this.sync = async (handle, signal) => {
          await this.#requests.ask({ operation, handle: this.#remote(handle) }, signal);
        };
        return;
      case 'mkdir':
        this.mkdir = async (folder, name, permissions, signal) =>
          parse.parsePresent(await this.#requests.change({ operation, folder, name, permissions }, signal));
        return;
      case 'rmdir':
        this.rmdir = async (folder, name, signal) => {
          await this.#requests.change({ operation, folder, name }, signal);
        };
        return;
      case 'truncate':
        this.truncate = async (inode, size, signal) => {
          await this.#requests.change({ operation, inode, size }, signal);
        };
        return;
      case 'forget':
        this.forget = (inode) => {
          this.#known.delete(inode);
          this.#knownFolders.delete(inode);
          this.#foresight?.forget(inode);
          this.#requests.tell({ kind: 'forget', inode, received: this.#requests.received });
        };
        return;
      case 'capacity':
        this.capacity = async (signal): Promise<Capacity> =>
          parse.parseCapacity(await this.#requests.ask({ operation }, signal));
        return;
      case 'watch':
        this.watch = (listener) => this.#watch(listener);
        return;
    }
  }

  #opened(file: parse.RemoteFile): Opened {
    this.#files.set(++this.#lastHandle, file);
    const whole = 'content' in file && file.content.length > 0 ? { whole: file.content.length } : {};
    return { handle: this.#lastHandle, cache: file.cache, ...whole };
  }

  /** Remembers what a file of a tree that does not change is told to be for good. */
  #learn(attributes: Attributes | undefined): void {
    if (attributes?.freshSeconds !== Number.POSITIVE_INFINITY || this.watch) return;
    const known = attributes.type === 'directory' ? this.#knownFolders : this.#known;
    known.set(attributes.inode, attributes);
  }

  #isBare(inode: Inode): boolean {
    return (this.#known.get(inode) ?? this.#knownFolders.get(inode))?.bare === true;
  }

  #file(handle: number): parse.RemoteFile {
    const file = this.#files.get(handle);
    if (file) return file;
    throw new StillError('EBADF', `handle ${handle} of a hosted tree is not open`);
  }

  #remote(handle: number): number {
    const file = this.#file(handle);
    if ('handle' in file) return file.handle;
    throw new StillError('EROFS', 'a file that never changes can not be changed');
  }

  /** Lets go of a file at the other end, if it is open there. */
  async #letGo(file: parse.RemoteFile): Promise<void> {
    if ('handle' in file) await this.#requests.ask({ operation: 'release', handle: file.handle }, undefined);
  }

  #watch(listener: (change: Change) => void): () => void {
    // Each watcher has an entry of its own, also when two bring the same function.
    const own = (change: Change): void => listener(change);
    this.#listeners.add(own);
    if (this.#listeners.size === 1) this.#requests.tell({ kind: 'watch', on: true });
    return () => {
      if (!this.#listeners.delete(own)) return;
      if (this.#listeners.size === 0) this.#requests.tell({ kind: 'watch', on: false });
    };
  }

  #keepMemory(memory: ArrayBuffer): void {
    if (!this.#requests.broken) this.#memory.keep(memory);
  }
}

/** Where data or the end is in a file without holes, as lseek(2) has it. */
function seekContent(size: number, offset: number, wanted: 'data' | 'hole'): number {
  if (offset >= size) throw new StillError('ENXIO', `${offset} is beyond the end of a file of ${size}`);
  return wanted === 'data' ? offset : size;
}
