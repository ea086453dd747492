import { type MessagePort, parentPort } from 'node:worker_threads';
import { BusyPoll } from '../../busy-poll.js';
import { StillError } from '../../errors.js';
import { failureOf } from '../../port/failure.js';
import type { Inode } from '../attributes.js';
import type { Found, Opened, Tree } from '../tree.js';
import type { PackedFiles } from './ahead/files-ahead.js';
import type { ListedPiece } from './ahead/listings-ahead.js';
import { mostWhole } from './ahead/reading-order.js';
import { sendFiles } from './ahead/send-files.js';
import { sendListings } from './ahead/send-listings.js';
import { wholeFile } from './ahead/whole-file.js';
import { optionalOperations, type Request, type ToClient, type ToServer } from './messages.js';
import { type JoinedEntries, packEntries } from './packed-entries.js';
import { parseToServer } from './parse.js';

/**
 * Serves a tree through a port, until whoever is at the other end closes the tree or the port. Trees that other trees
 * stand upon (`graft`) can't be served: a port carries one tree. EOPNOTSUPP.
 */
export function serveTree(tree: Tree, port: MessagePort): void {
  if (tree.graft) {
    throw new StillError(
      'EOPNOTSUPP',
      'a tree that others are grafted upon can not be served through a port; serve each of them through its own',
    );
  }
  const served = new ServedTree(tree, port);
  port.on('message', (message: unknown) => served.receive(parseToServer(message)));
  port.on('close', () => served.abandon());
  const operations = optionalOperations.filter((name) => tree[name] !== undefined);
  send(port, { kind: 'ready', root: tree.root, operations });
}

/**
 * What the module that a hosted tree's worker runs calls, once: waits for the data that `hostTree` was given, makes the
 * tree from it and serves it. A failure to make it is what `hostTree` rejects with. `signal` is aborted when nobody waits for the tree
 * any more: what was begun can be ended in good order then.
 */
export async function serveHosted(
  make: (data: unknown, signal: AbortSignal) => Promise<Tree>,
): Promise<void> {
  const port = parentPort;
  if (!port) throw new StillError('EINVAL', 'serveHosted serves the tree of a worker; this is no worker');
  const abort = new AbortController();
  let begin: (data: unknown) => void = () => undefined;
  const given = new Promise<unknown>((resolve) => {
    begin = resolve;
  });
  const receive = (message: unknown): void => {
    const parsed = parseToServer(message);
    if (parsed.kind === 'make') begin(parsed.data);
    else if (parsed.kind === 'ping') send(port, { kind: 'pong' });
    else if (parsed.kind === 'unmake') abort.abort();
  };
  port.on('message', receive);
  try {
    const tree = await make(await given, abort.signal);
    try {
      serveTree(tree, port);
    } catch (error) {
      await tree.close();
      throw error;
    }
  } catch (error) {
    send(port, { kind: 'unmade', failure: failureOf(error) });
  } finally {
    port.off('message', receive);
  }
}

/** Who reads file after file asks again within this time, milliseconds. */
const mostIdle = 0.2;
/** A listing's pieces are joined until they have so many entries. */
const enoughEntries = 256;

/** An answer that tells of inodes, as long as it is not known to have arrived. */
interface Telling {
  readonly number: number;
  readonly inodes: readonly Inode[];
}

class ServedTree {
  readonly #tree: Tree;
  readonly #port: MessagePort;
  readonly #busyPoll = new BusyPoll(mostIdle);
  readonly #underWay = new Map<number, AbortController>();
  /** In the order in which they were sent. */
  #telling: Telling[] = [];
  #answers = 0;
  #stopWatching: (() => void) | undefined;
  readonly #closing = new AbortController();

  constructor(tree: Tree, port: MessagePort) {
    this.#tree = tree;
    this.#port = port;
  }

  receive(message: ToServer): void {
    switch (message.kind) {
      case 'request':
        this.#busyPoll.arrived();
        this.#arrived(message.received);
        void this.#answer(message.id, message.request);
        return;
      case 'abort':
        this.#underWay.get(message.id)?.abort();
        return;
      case 'forget':
        this.#arrived(message.received);
        // An answer on its way tells of this inode anew: forgetting it now would make that answer a lie.
        if (!this.#telling.some(({ inodes }) => inodes.includes(message.inode))) {
          this.#tree.forget?.(message.inode);
        }
        return;
      case 'watch':
        this.#watch(message.on);
        return;
      case 'want files':
        void sendFiles(this.#tree, message.inodes, (files) => this.#filesAhead(files), this.#closing.signal);
        return;
      case 'want listings':
        void sendListings(
          message.pieces,
          ({ folder, after }) => this.#entries(folder, after, this.#closing.signal),
          (listings) => this.#listingsAhead(listings),
        );
        return;
      case 'make':
        return;
      case 'unmake':
        // It came too late: the tree has been made, and will be closed.
        return;
      case 'ping':
        send(this.#port, { kind: 'pong' });
        return;
    }
  }

  /** The other end is gone: there is nobody left to tell of a failure. */
  abandon(): void {
    this.#letGo().catch(() => undefined);
  }

  async #answer(id: number, request: Request): Promise<void> {
    const abort = new AbortController();
    this.#underWay.set(id, abort);
    try {
      const performed = await this.#perform(request, abort.signal);
      const number = ++this.#answers;
      if (performed.tells && this.#tree.forget) this.#telling.push({ number, inodes: performed.tells });
      send(this.#port, { kind: 'answer', id, number, value: performed.value }, performed.transferred);
    } catch (error) {
      send(this.#port, { kind: 'failure', id, number: ++this.#answers, failure: failureOf(error) });
    } finally {
      this.#busyPoll.replied();
      this.#underWay.delete(id);
    }
  }

  async #perform(request: Request, signal: AbortSignal): Promise<Performed> {
    const tree = this.#tree;
    switch (request.operation) {
      case 'lookup': {
        const found = await tree.lookup(request.folder, request.name, signal);
        const tells = found.attributes ? [found.attributes.inode] : [];
        const content = request.whole ? await this.#contentOf(found, signal) : undefined;
        if (!content) return { value: found, tells };
        return { value: { ...found, content }, tells, transferred: [content.buffer] };
      }
      case 'attributes':
        return { value: await tree.attributes(request.inode, signal) };
      case 'list':
        return this.#list(request.folder, request.after, signal);
      case 'readlink':
        return transferred(await tree.readlink(request.inode, signal));
      case 'xattr':
        return transferred(await tree.xattr(request.inode, request.name, signal));
      case 'xattrs':
        return { value: await tree.xattrs(request.inode, signal) };
      case 'open':
        return this.#open(await tree.open(request.inode, request.access, signal), request.inode, signal);
      case 'read': {
        const memory = request.memory ?? new ArrayBuffer(request.length);
        const target = new Uint8Array(memory, 0, request.length);
        const length = await tree.read(request.handle, request.offset, target, signal);
        return { value: { length, memory }, transferred: [memory] };
      }
      case 'seek':
        return {
          value: await offered(tree.seek).call(tree, request.handle, request.offset, request.wanted, signal),
        };
      case 'write':
        await offered(tree.write).call(tree, request.handle, request.offset, request.bytes, signal);
        return nothing;
      case 'discard':
        await offered(tree.discard).call(tree, request.handle, request.offset, request.length, signal);
        return nothing;
      case 'sync':
        await offered(tree.sync).call(tree, request.handle, signal);
        return nothing;
      case 'release':
        await tree.release(request.handle);
        return nothing;
      case 'mkdir': {
        const made = await offered(tree.mkdir).call(
          tree,
          request.folder,
          request.name,
          request.permissions,
          signal,
        );
        return { value: made, tells: [made.attributes.inode] };
      }
      case 'rmdir':
        await offered(tree.rmdir).call(tree, request.folder, request.name, signal);
        return nothing;
      case 'truncate':
        await offered(tree.truncate).call(tree, request.inode, request.size, signal);
        return nothing;
      case 'capacity':
        return { value: await offered(tree.capacity).call(tree, signal) };
      case 'close':
        await this.#letGo();
        return nothing;
    }
  }

  /**
   * A piece of a listing, and whether it is the last: to learn that by one more question would cost as much again where
   * folders are small.
   */
  async #list(folder: Inode, after: bigint, signal: AbortSignal): Promise<Performed> {
    const { entries, last } = await this.#entries(folder, after, signal);
    const tells = this.#tree.forget
      ? entries.flatMap(({ found }) => (found ? [found.attributes.inode] : []))
      : [];
    const packed = packEntries({ entries, last });
    return { value: packed, tells, transferred: [packed.memory] };
  }

  async #entries(folder: Inode, after: bigint, signal: AbortSignal): Promise<JoinedEntries> {
    const entries = [...(await this.#tree.list(folder, after, signal))];
    let last = entries.length === 0;
    while (!last && entries.length < enoughEntries && !this.#tree.watch) {
      const end = entries.at(-1)?.cookie ?? after;
      try {
        const more = await this.#tree.list(folder, end, signal);
        last = more.length === 0;
        entries.push(...more);
      } catch {
        signal.throwIfAborted();
        // Who goes on from here will be told.
        break;
      }
    }
    return { entries, last };
  }

  /** A small file that never changes goes over as a whole: it takes one way there and back, and not one for each call. */
  async #open(opened: Opened, inode: Inode, signal: AbortSignal): Promise<Performed> {
    const content = await wholeFile(this.#tree, opened, inode, signal);
    if (!content) return { value: withoutDescriptor(opened) };
    return { value: { cache: opened.cache, content }, transferred: [content.buffer] };
  }

  /** What a small file holds that was found. Undefined: it is none, or can't be read, which who opens it will be told. */
  async #contentOf({ attributes }: Found, signal: AbortSignal): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (attributes?.type !== 'file' || attributes.size > mostWhole) return undefined;
    try {
      const { inode } = attributes;
      const opened = await this.#tree.open(inode, 'read', signal);
      const content = await wholeFile(this.#tree, opened, inode, signal);
      if (!content) await this.#tree.release(opened.handle);
      return content;
    } catch {
      signal.throwIfAborted();
      return undefined;
    }
  }

  #filesAhead(files: PackedFiles): void {
    send(this.#port, { kind: 'files ahead', files }, [files.memory]);
  }

  #listingsAhead(listings: readonly ListedPiece[]): void {
    const memories = listings.flatMap(({ entries }) => (entries ? [entries.memory] : []));
    send(this.#port, { kind: 'listings ahead', listings }, memories);
  }

  #arrived(received: number): void {
    while (this.#telling[0] && this.#telling[0].number <= received) this.#telling.shift();
  }

  #watch(on: boolean): void {
    this.#stopWatching?.();
    this.#stopWatching = on
      ? this.#tree.watch?.((change) => send(this.#port, { kind: 'change', change }))
      : undefined;
  }

  async #letGo(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    this.#watch(false);
    for (const abort of this.#underWay.values()) abort.abort();
    await this.#tree.close();
  }
}

/** What an operation gave, the inodes that it tells of, and the memory that goes with it to the other end. */
interface Performed {
  readonly value: unknown;
  readonly tells?: readonly Inode[];
  readonly transferred?: readonly ArrayBuffer[];
}

const nothing: Performed = { value: undefined };

/** Bytes in memory of their own: a clone of a view would carry all the memory that it is a view of. */
function transferred(bytes: Uint8Array): Performed {
  const own = new Uint8Array(bytes);
  return { value: own, transferred: [own.buffer] };
}

/**
 * A worker's descriptors are closed the moment it dies, and their numbers are given to other files: nobody outside may
 * hand one to the kernel.
 */
function withoutDescriptor({ handle, cache }: { handle: number; cache: string }): object {
  return { handle, cache };
}

function offered<T>(operation: T | undefined): T {
  if (operation === undefined) throw new StillError('EOPNOTSUPP', 'the hosted tree has no such operation');
  return operation;
}

function send(port: MessagePort, message: ToClient, transferred: readonly ArrayBuffer[] = []): void {
  port.postMessage(message, transferred);
}
