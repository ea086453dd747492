import { StillError } from '../../errors.js';
import type { Extent } from '../../extents.js';
import type { Disk } from '../disk.js';
import { mustLieWithin } from '../disk-range.js';
import { extentsOf } from './block-status.js';
import { type NbdConnectionOptions, NbdConnections } from './connections.js';
import { pieces } from './pieces.js';
import { broken, ExportFlag } from './protocol.js';

export interface NbdOptions extends NbdConnectionOptions {
  /** Asks what reads as zeros (`base:allocation`). Not together with a bitmap-limited filter: that breaks QEMU's side. */
  readonly allocation?: boolean;
  /** A dirty bitmap that the export shows, whose bits become `dirty`; without one all is dirty. */
  readonly dirtyBitmap?: string;
  /**
   * Bytes. Only whole granules, and what ends at the end of the disk, may be discarded: QEMU's snapshot-access aborts
   * the virtual machine on anything else. Default: the smallest block that the server takes.
   */
  readonly discardGranule?: number;
}

export interface NbdDisk extends Disk {
  /**
   * Why the first of the connections that are gone was lost, where none is made anew. Reads go on over those that are
   * left; without any they are EIO.
   */
  readonly lost: StillError | undefined;
}

const allocationContext = 'base:allocation';
/** What one block status or trim asks for at most, where lengths have 32 bits; with 64 bits, all at once. */
const longestCompact = 2 ** 31;

/**
 * A disk that an NBD server exports. Errors of opening: ENOENT (no such socket or export), ECONNREFUSED, EACCES, EIO
 * with a sentence for all else. What the server refuses later has the errno that it names, but bytes that it does not
 * give are EIO.
 */
export async function openNbdDisk(options: NbdOptions, signal?: AbortSignal): Promise<NbdDisk> {
  const bitmapContext =
    options.dirtyBitmap === undefined ? undefined : `qemu:dirty-bitmap:${options.dirtyBitmap}`;
  const contexts = [
    ...(options.allocation === false ? [] : [allocationContext]),
    ...(bitmapContext === undefined ? [] : [bitmapContext]),
  ];
  const connections = await NbdConnections.open(options, contexts, signal);
  const { served } = connections;
  if (bitmapContext !== undefined && !served.contexts.has(bitmapContext)) {
    await connections.close();
    throw new StillError('EIO', `the NBD export "${options.exportName}" does not show ${bitmapContext}`);
  }
  return new ExportedDisk(connections, options, bitmapContext);
}

class ExportedDisk implements NbdDisk {
  readonly size: number;
  /** Only where the server takes it. */
  readonly discard?: (offset: number, length: number, signal?: AbortSignal) => Promise<void>;
  readonly #name: string;
  readonly #connections: NbdConnections;
  readonly #bitmapContext: string | undefined;
  readonly #granule: number;

  constructor(connections: NbdConnections, options: NbdOptions, bitmapContext: string | undefined) {
    const { size, flags, minimumBlock } = connections.served;
    this.size = size;
    this.#name = `the NBD export "${options.exportName}"`;
    this.#connections = connections;
    this.#bitmapContext = bitmapContext;
    this.#granule = options.discardGranule ?? minimumBlock;
    if ((flags & ExportFlag.sendTrim) !== 0)
      this.discard = (offset, length, signal) => this.#trim(offset, length, signal);
  }

  get lost(): StillError | undefined {
    return this.#connections.lost;
  }

  async read(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    mustLieWithin(this, this.#name, offset, target.byteLength);
    const { begin, end } = this.#aligned(offset, target.byteLength);
    if (begin === offset && end === offset + target.byteLength) {
      await this.#whole(offset, target, signal);
      return;
    }
    const around = new Uint8Array(end - begin);
    await this.#whole(begin, around, signal);
    target.set(around.subarray(offset - begin, offset - begin + target.byteLength));
  }

  async extents(offset: number, length: number, signal?: AbortSignal): Promise<Extent[]> {
    mustLieWithin(this, this.#name, offset, length);
    if (length === 0) return [];
    const { contexts, extended, minimumBlock } = this.#connections.served;
    if (contexts.size === 0) return [{ offset, length, zero: false, dirty: true }];
    const longest = extended ? Number.MAX_SAFE_INTEGER : longestCompact;
    const { begin, end } = this.#aligned(offset, Math.min(length, longest - minimumBlock));
    const runs = await this.#connections.repeatably(
      (connection) => connection.status(begin, end - begin, signal),
      signal,
    );
    const dirty = this.#bitmapContext === undefined ? undefined : runs.get(this.#bitmapContext);
    const extents = extentsOf(begin, end - begin, runs.get(allocationContext), dirty)
      .map((extent) => cut(extent, offset, offset + length))
      .filter((extent) => extent.length > 0);
    // Runs that end within the first block would be told again and again.
    if (extents.length === 0) throw broken(`block status that ends before ${offset}`);
    return extents;
  }

  async close(): Promise<void> {
    await this.#connections.close();
  }

  async #trim(offset: number, length: number, signal?: AbortSignal): Promise<void> {
    mustLieWithin(this, this.#name, offset, length);
    const granule = this.#granule;
    const whole = length % granule === 0 || offset + length === this.size;
    if (offset % granule !== 0 || !whole)
      throw new StillError(
        'EINVAL',
        `${length} bytes at ${offset} of ${this.#name} are not whole granules of ${granule} bytes; only those are discarded`,
      );
    const most = this.#connections.served.extended ? Number.MAX_SAFE_INTEGER : longestCompact;
    const longest = most - (most % granule);
    for (const piece of pieces(offset, length, Math.max(granule, longest))) {
      // Not asked again after a loss: whether it was done is not known, and the caller may ask itself.
      await this.#connections.once(
        (connection) => connection.trim(piece.offset, piece.length, signal),
        signal,
      );
    }
  }

  /** The whole blocks around a range. */
  #aligned(offset: number, length: number): { begin: number; end: number } {
    const { minimumBlock } = this.#connections.served;
    return {
      begin: offset - (offset % minimumBlock),
      end: Math.min(this.size, Math.ceil((offset + length) / minimumBlock) * minimumBlock),
    };
  }

  async #whole(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    const asked = pieces(offset, target.byteLength, this.#connections.served.maximumBlock).map((piece) => {
      const begin = piece.offset - offset;
      const part = target.subarray(begin, begin + piece.length);
      return this.#connections.repeatably(
        (connection) => connection.read(piece.offset, part, signal),
        signal,
      );
    });
    await Promise.all(asked);
  }
}

function cut(extent: Extent, begin: number, end: number): Extent {
  const from = Math.max(extent.offset, begin);
  return { ...extent, offset: from, length: Math.min(extent.offset + extent.length, end) - from };
}
