import type { MessagePort, Transferable, Worker } from 'node:worker_threads';
import { LRUCache } from 'lru-cache';
import { BusyPoll } from '../../busy-poll.js';
import { StillError } from '../../errors.js';
import { type Name, nameToText } from '../../name.js';
import { errorOf } from '../../port/failure.js';
import { SpareMemory } from '../../port/spare-memory.js';
import type { Attributes, Inode } from '../attributes.js';
import type { Access, Capacity, Change, Entry, Found, Opened, Tree } from '../tree.js';
import { FilesAhead } from './files-ahead.js';
import type { OptionalOperation, Request, ToClient, ToServer } from './messages.js';
import { parseEntries } from './packed-entries.js';
import * as parse from './parse.js';
import { ReadingOrder } from './reading-order.js';

/** What an answer takes that needs no work to speak of, milliseconds. */
const mostAnswerTime = 0.2;
/** The memory that is kept for reads to come, bytes. */
const keptMemory = 8 * 1024 * 1024;
const mostEnds = 64;
const mostKnown = 8192;

/** What is waited for: the answer to one request. */
interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly signal: AbortSignal | undefined;
}

/** What becomes of an answer that nobody waits for any more. */
type Late = (value: unknown) => void;

const drop: Late = () => undefined;

/**
 * A tree at the other end of a port (`serveTree`). Each operation is one message there and one back.
 *
 * Ways in which it differs from the tree that it stands for: it has no grafts and no `passthrough`; the waits of
 * operations that change something end when the tree says so, so that their outcome is the true one.
 */
export class PortTree implements Tree {
  readonly #port: MessagePort | Worker;
  readonly #busyPoll = new BusyPoll(mostAnswerTime);
  readonly #waiting = new Map<number, Waiting>();
  /** Requests that nobody waits for any more, until they are answered. */
  readonly #abandoned = new Map<number, Late>();
  readonly #listeners = new Set<(change: Change) => void>();
  readonly #files = new Map<number, parse.RemoteFile>();
  #lastHandle = 0;
  /** What holds as long as the tree, and was told with a listing or a look-up. */
  readonly #known = new LRUCache<Inode, Attributes>({ max: mostKnown });
  readonly #order = new ReadingOrder();
  readonly #ahead = new FilesAhead();
  /** The cookies that nothing follows, by folder. */
  readonly #ends = new LRUCache<Inode, bigint>({ max: mostEnds });
  readonly #memory = new SpareMemory(keptMemory);
  #lastId = 0;
  #received = 0;
  #broken: StillError | undefined;
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
    this.#port = port;
    this.#end = end;
    this.root = root;
    for (const operation of operations) this.#offer(operation);
  }

  /** Whether the other end owes an answer. */
  get awaited(): boolean {
    return this.#waiting.size + this.#abandoned.size > 0;
  }

  receive(message: ToClient): void {
    switch (message.kind) {
      case 'answer':
        this.#received = message.number;
        this.#settle(message.id, (waiting) => waiting.resolve(message.value), message.value);
        return;
      case 'failure':
        this.#received = message.number;
        this.#settle(message.id, (waiting) =>
          waiting.reject(
            errorOf(message.failure, waiting.signal?.aborted ? waiting.signal.reason : undefined),
          ),
        );
        return;
      case 'ahead':
        if (!this.#broken) this.#ahead.arrived(message.files);
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
    if (this.#broken) return;
    this.#broken = reason;
    for (const waiting of this.#waiting.values()) waiting.reject(reason);
    this.#waiting.clear();
    this.#abandoned.clear();
    this.#memory.clear();
    this.#known.clear();
    this.#order.clear();
    this.#ahead.clear();
  }

  async lookup(folder: Inode, name: Name, signal: AbortSignal): Promise<Found> {
    const found = parse.parseFound(await this.#ask({ operation: 'lookup', folder, name }, signal));
    this.#learn(found.attributes);
    return found;
  }

  async attributes(inode: Inode, signal: AbortSignal): Promise<Attributes> {
    this.#mustBeServed(signal);
    const known = this.#known.get(inode);
    if (known) return known;
    return parse.parseAttributes(await this.#ask({ operation: 'attributes', inode }, signal));
  }

  async list(folder: Inode, after: bigint, signal: AbortSignal): Promise<readonly Entry[]> {
    this.#mustBeServed(signal);
    if (after !== 0n && this.#ends.get(folder) === after) return [];
    const answer = await this.#ask({ operation: 'list', folder, after }, signal);
    const { entries, last } = parseEntries(answer);
    const end = entries.at(-1)?.cookie;
    if (last && end !== undefined && !this.watch) this.#ends.set(folder, end);
    else this.#ends.delete(folder);
    for (const { found } of entries) this.#learn(found?.attributes);
    if (!this.watch) this.#askAhead(this.#order.listed(folder, after, entries));
    return entries;
  }

  async readlink(inode: Inode, signal: AbortSignal): Promise<Uint8Array> {
    return parse.parseBytes(await this.#ask({ operation: 'readlink', inode }, signal));
  }

  async xattr(inode: Inode, name: Name, signal: AbortSignal): Promise<Uint8Array> {
    this.#mustBeServed(signal);
    if (this.#known.get(inode)?.bare)
      throw new StillError('ENODATA', `inode ${inode} has no attribute ${nameToText(name)}`);
    return parse.parseBytes(await this.#ask({ operation: 'xattr', inode, name }, signal));
  }

  async xattrs(inode: Inode, signal: AbortSignal): Promise<readonly Name[]> {
    this.#mustBeServed(signal);
    if (this.#known.get(inode)?.bare) return [];
    return parse.parseNames(await this.#ask({ operation: 'xattrs', inode }, signal));
  }

  async open(inode: Inode, access: Access, signal: AbortSignal): Promise<Opened> {
    this.#mustBeServed(signal);
    if (access === 'read' && !this.watch) {
      const content = this.#ahead.take(inode);
      this.#askAhead(this.#order.opened(inode));
      if (content) return this.#opened({ cache: 'keep', content });
    }
    const releaseLate = (value: unknown): void => {
      // Nobody can be told of a failure to close what nobody has opened.
      this.#letGo(parse.parseOpened(value)).catch(() => undefined);
    };
    const request: Request = { operation: 'open', inode, access };
    return this.#opened(parse.parseOpened(await this.#ask(request, signal, [], releaseLate)));
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
    const answer = await this.#ask(request, signal, memory ? [memory] : [], (value) =>
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
      if (!this.#broken) await this.#ask({ operation: 'close' }, undefined);
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
          return parse.parseWhole(await this.#ask(request, signal));
        };
        return;
      case 'write':
        this.write = async (handle, offset, bytes, signal) => {
          // In memory of its own: sending a view would copy all the memory that it is a view of.
          const own = new Uint8Array(bytes);
          const at = { handle: this.#remote(handle), offset };
          await this.#change({ operation, ...at, bytes: own }, signal, [own.buffer]);
        };
        return;
      case 'discard':
        this.discard = async (handle, offset, length, signal) => {
          await this.#change({ operation, handle: this.#remote(handle), offset, length }, signal);
        };
        return;
      case 'sync':
        this.sync = async (handle, signal) => {
          await this.#ask({ operation, handle: this.#remote(handle) }, signal);
        };
        return;
      case 'mkdir':
        this.mkdir = async (folder, name, permissions, signal) =>
          parse.parsePresent(await this.#change({ operation, folder, name, permissions }, signal));
        return;
      case 'rmdir':
        this.rmdir = async (folder, name, signal) => {
          await this.#change({ operation, folder, name }, signal);
        };
        return;
      case 'truncate':
        this.truncate = async (inode, size, signal) => {
          await this.#change({ operation, inode, size }, signal);
        };
        return;
      case 'forget':
        this.forget = (inode) => {
          this.#known.delete(inode);
          this.#ahead.drop(inode);
          if (!this.#broken) this.#send({ kind: 'forget', inode, received: this.#received });
        };
        return;
      case 'capacity':
        this.capacity = async (signal): Promise<Capacity> =>
          parse.parseCapacity(await this.#ask({ operation }, signal));
        return;
      case 'watch':
        this.watch = (listener) => this.#watch(listener);
        return;
    }
  }

  #opened(file: parse.RemoteFile): Opened {
    this.#files.set(++this.#lastHandle, file);
    return { handle: this.#lastHandle, cache: file.cache };
  }

  /** Remembers what a file of a tree that does not change is told to be for good. */
  #learn(attributes: Attributes | undefined): void {
    if (attributes?.freshSeconds === Number.POSITIVE_INFINITY && !this.watch)
      this.#known.set(attributes.inode, attributes);
  }

  #askAhead(inodes: readonly Inode[]): void {
    if (inodes.length > 0) this.#send({ kind: 'ahead', inodes });
  }

  /** Also where an answer is at hand, it is the hosted tree's: one that is gone, or a caller that is, has none. */
  #mustBeServed(signal: AbortSignal | undefined): void {
    signal?.throwIfAborted();
    if (this.#broken) throw this.#broken;
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
    if ('handle' in file) await this.#ask({ operation: 'release', handle: file.handle }, undefined);
  }

  #watch(listener: (change: Change) => void): () => void {
    // Each watcher has an entry of its own, also when two bring the same function.
    const own = (change: Change): void => listener(change);
    this.#listeners.add(own);
    if (this.#listeners.size === 1 && !this.#broken) this.#send({ kind: 'watch', on: true });
    return () => {
      if (!this.#listeners.delete(own)) return;
      if (this.#listeners.size === 0 && !this.#broken) this.#send({ kind: 'watch', on: false });
    };
  }

  /** Sends a request and waits for the answer, or for the signal. `late`: what becomes of an answer after that. */
  async #ask(
    request: Request,
    signal: AbortSignal | undefined,
    transferred: readonly Transferable[] = [],
    late: Late = drop,
  ): Promise<unknown> {
    const id = this.#request(request, signal, transferred);
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        this.#waiting.delete(id);
        this.#abandoned.set(id, late);
        this.#send({ kind: 'abort', id });
        reject(signal?.reason);
      };
      signal?.addEventListener('abort', abort, { once: true });
      const settled = <T>(settle: (value: T) => void) => {
        return (value: T): void => {
          signal?.removeEventListener('abort', abort);
          settle(value);
        };
      };
      this.#waiting.set(id, { resolve: settled(resolve), reject: settled(reject), signal });
    });
  }

  /** Sends a request that changes something and waits for the answer, also after an abort: it tells what was done. */
  async #change(
    request: Request,
    signal: AbortSignal,
    transferred: readonly Transferable[] = [],
  ): Promise<unknown> {
    const id = this.#request(request, signal, transferred);
    const abort = (): void => this.#send({ kind: 'abort', id });
    signal.addEventListener('abort', abort, { once: true });
    try {
      return await new Promise((resolve, reject) => {
        this.#waiting.set(id, { resolve, reject, signal });
      });
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  #request(
    request: Request,
    signal: AbortSignal | undefined,
    transferred: readonly Transferable[] = [],
  ): number {
    this.#mustBeServed(signal);
    const id = ++this.#lastId;
    this.#send({ kind: 'request', id, received: this.#received, request }, transferred);
    this.#busyPoll.awaiting();
    return id;
  }

  #settle(id: number, settle: (waiting: Waiting) => void, value?: unknown): void {
    const waiting = this.#waiting.get(id);
    if (waiting) {
      this.#waiting.delete(id);
      settle(waiting);
      return;
    }
    const late = this.#abandoned.get(id);
    this.#abandoned.delete(id);
    if (value !== undefined) late?.(value);
  }

  #send(message: ToServer, transferred: readonly Transferable[] = []): void {
    this.#port.postMessage(message, transferred);
  }

  #keepMemory(memory: ArrayBuffer): void {
    if (!this.#broken) this.#memory.keep(memory);
  }
}

/** Where data or the end is in a file without holes, as lseek(2) has it. */
function seekContent(size: number, offset: number, wanted: 'data' | 'hole'): number {
  if (offset >= size) throw new StillError('ENXIO', `${offset} is beyond the end of a file of ${size}`);
  return wanted === 'data' ? offset : size;
}
