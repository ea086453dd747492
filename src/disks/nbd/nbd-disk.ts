import { StillError } from '../../errors.js';
import { type Extent, joined } from '../../extents.js';
import type { Disk } from '../disk.js';
import { NbdConnection } from './connection.js';
import { broken, ExportFlag, type StatusRun } from './protocol.js';

export interface NbdOptions {
  /** The server's Unix socket. */
  readonly path: string;
  /** The export's name. */
  readonly exportName: string;
  /** Asks what reads as zeros (`base:allocation`). Not together with a bitmap-limited filter: that breaks QEMU's side. */
  readonly allocation?: boolean;
  /** A dirty bitmap that the export shows, whose bits become `dirty`; without one all is dirty. */
  readonly dirtyBitmap?: string;
  /** How many connections at most, where the server lets several see the same bytes. */
  readonly connections?: number;
  /** How long the server may say nothing while a request waits, in milliseconds. */
  readonly silence?: number;
  /** Whether lost connections are made anew, and their requests asked again. */
  readonly reconnect?: boolean;
}

const allocationContext = 'base:allocation';
const NBD_STATE_ZERO = 1 << 1;
const NBD_STATE_DIRTY = 1 << 0;
const defaultSilence = 60_000;
/** How often a request is asked again on a new connection. */
const mostAttempts = 3;
/** The longest range that one block status request covers: below the 32 bits of its length. */
const longestStatus = 2 ** 31;

/** A disk that an NBD server exports. */
export async function openNbdDisk(options: NbdOptions, signal?: AbortSignal): Promise<Disk> {
  const disk = new NbdDisk(options);
  await disk.connect(signal);
  return disk;
}

class NbdDisk implements Disk {
  readonly #options: NbdOptions;
  readonly #contexts: readonly string[];
  #connections: NbdConnection[] = [];
  #first: NbdConnection | undefined;
  #connecting: Promise<NbdConnection> | undefined;
  #closed = false;

  constructor(options: NbdOptions) {
    this.#options = options;
    this.#contexts = [
      ...(options.allocation === false ? [] : [allocationContext]),
      ...(options.dirtyBitmap === undefined ? [] : [`qemu:dirty-bitmap:${options.dirtyBitmap}`]),
    ];
  }

  async connect(signal?: AbortSignal): Promise<void> {
    this.#first = await this.#open(signal);
    this.#connections = [this.#first];
    for (const context of this.#contexts) {
      if (context !== allocationContext && !this.#first.served.contexts.has(context)) {
        await this.close();
        throw new StillError('EIO', `the NBD export "${this.#options.exportName}" does not show ${context}`);
      }
    }
    const several = (this.#first.served.flags & ExportFlag.canMultiConn) !== 0;
    const wanted = several ? (this.#options.connections ?? 2) : 1;
    while (this.#connections.length < wanted) this.#connections.push(await this.#open(signal));
  }

  get size(): number {
    return this.#served.size;
  }

  async read(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    this.#check(offset, target.byteLength);
    const { minimumBlock, maximumBlock } = this.#served;
    if (offset % minimumBlock !== 0 || target.byteLength % minimumBlock !== 0) {
      const begin = offset - (offset % minimumBlock);
      const end = Math.min(this.size, Math.ceil((offset + target.byteLength) / minimumBlock) * minimumBlock);
      const around = new Uint8Array(end - begin);
      await this.#inPieces(begin, around, maximumBlock, signal);
      target.set(around.subarray(offset - begin, offset - begin + target.byteLength));
      return;
    }
    await this.#inPieces(offset, target, maximumBlock, signal);
  }

  async extents(offset: number, length: number, signal?: AbortSignal): Promise<Extent[]> {
    this.#check(offset, length);
    if (length === 0) return [];
    const { contexts, minimumBlock } = this.#served;
    const begin = offset - (offset % minimumBlock);
    const end = Math.min(offset + length, begin + longestStatus);
    const asked = Math.min(this.size, Math.ceil(end / minimumBlock) * minimumBlock) - begin;
    const zeroAt = contexts.get(allocationContext);
    const dirtyAt =
      this.#options.dirtyBitmap === undefined
        ? undefined
        : contexts.get(`qemu:dirty-bitmap:${this.#options.dirtyBitmap}`);
    if (zeroAt === undefined && dirtyAt === undefined) return [{ offset, length, zero: false, dirty: true }];
    const runs = await this.#attempt((connection) => connection.status(begin, asked, signal), signal);
    const zero = zeroAt === undefined ? undefined : runsOf(runs, zeroAt);
    const dirty = dirtyAt === undefined ? undefined : runsOf(runs, dirtyAt);
    return merged(begin, asked, zero, dirty)
      .map((extent) => cut(extent, offset, end))
      .filter((extent) => extent.length > 0);
  }

  async discard(offset: number, length: number, signal?: AbortSignal): Promise<void> {
    this.#check(offset, length);
    if ((this.#served.flags & ExportFlag.sendTrim) === 0)
      throw new StillError('EOPNOTSUPP', 'the NBD server takes no trim');
    // Not asked again after a loss: whether it was done is not known, and the caller may ask itself.
    await (await this.#connection(signal)).trim(offset, length, signal);
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const connection of this.#connections) connection.close();
    this.#connections = [];
  }

  get #served(): NbdConnection['served'] {
    if (!this.#first) throw new StillError('EBADF', 'the NBD disk is not connected');
    return this.#first.served;
  }

  #check(offset: number, length: number): void {
    if (offset < 0 || length < 0 || offset + length > this.size) {
      throw new StillError('EINVAL', `bytes ${offset} to ${offset + length} leave a disk of ${this.size}`);
    }
  }

  async #inPieces(offset: number, target: Uint8Array, longest: number, signal?: AbortSignal): Promise<void> {
    const pieces: Promise<void>[] = [];
    for (let done = 0; done < target.byteLength; done += longest) {
      const piece = target.subarray(done, Math.min(done + longest, target.byteLength));
      pieces.push(this.#attempt((connection) => connection.read(offset + done, piece, signal), signal));
    }
    await Promise.all(pieces);
  }

  /** Asks, and asks again on another connection where the first was lost on the way. */
  async #attempt<T>(ask: (connection: NbdConnection) => Promise<T>, signal?: AbortSignal): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const connection = await this.#connection(signal);
      try {
        return await ask(connection);
      } catch (error) {
        const again =
          connection.failed && this.#options.reconnect === true && attempt < mostAttempts && !this.#closed;
        if (!again || signal?.aborted) throw error;
      }
    }
  }

  /** The connection with the fewest requests under way; a new one where all were lost. */
  async #connection(signal?: AbortSignal): Promise<NbdConnection> {
    if (this.#closed) throw new StillError('EBADF', 'the NBD disk is closed');
    const alive = this.#connections.filter((connection) => !connection.failed);
    const [first] = alive.sort((a, b) => a.load - b.load);
    if (first) return first;
    if (this.#options.reconnect !== true)
      throw new StillError('EIO', 'the connection to the NBD server is lost');
    this.#connecting ??= this.#open().finally(() => {
      this.#connecting = undefined;
    });
    const connection = await this.#connecting;
    signal?.throwIfAborted();
    if (connection.served.size !== this.size)
      throw new StillError('EIO', 'the NBD server exports a disk of another size now');
    if (!this.#connections.includes(connection)) this.#connections = [connection];
    return connection;
  }

  #open(signal?: AbortSignal): Promise<NbdConnection> {
    const { path, exportName, silence = defaultSilence } = this.#options;
    return NbdConnection.open(path, exportName, this.#contexts, silence, signal);
  }
}

function runsOf(runs: ReadonlyMap<number, readonly StatusRun[]>, context: number): readonly StatusRun[] {
  const found = runs.get(context);
  if (!found || found.some(({ length }) => length === 0))
    throw broken('block status without runs of a context');
  return found;
}

/** The runs of both contexts side by side, as far as both go. A context that was not agreed on says: data, dirty. */
function merged(
  begin: number,
  length: number,
  zeroRuns: readonly StatusRun[] | undefined,
  dirtyRuns: readonly StatusRun[] | undefined,
): Extent[] {
  const whole: readonly StatusRun[] = [{ length, flags: 0 }];
  const zeros = [...(zeroRuns ?? whole)];
  const dirts = [...(dirtyRuns ?? [{ length, flags: NBD_STATE_DIRTY }])];
  const extents: Extent[] = [];
  let offset = begin;
  let zero = zeros.shift();
  let dirty = dirts.shift();
  while (zero && dirty && offset < begin + length) {
    const step = Math.min(zero.length, dirty.length, begin + length - offset);
    extents.push({
      offset,
      length: step,
      zero: (zero.flags & NBD_STATE_ZERO) !== 0,
      dirty: (dirty.flags & NBD_STATE_DIRTY) !== 0,
    });
    offset += step;
    zero = zero.length > step ? { ...zero, length: zero.length - step } : zeros.shift();
    dirty = dirty.length > step ? { ...dirty, length: dirty.length - step } : dirts.shift();
  }
  return joined(extents);
}

function cut(extent: Extent, begin: number, end: number): Extent {
  const from = Math.max(extent.offset, begin);
  return { ...extent, offset: from, length: Math.min(extent.offset + extent.length, end) - from };
}
