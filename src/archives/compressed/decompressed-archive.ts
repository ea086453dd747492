import { LRUCache } from 'lru-cache';
import type { Disk } from '../../disks/disk.js';
import { StillError } from '../../errors.js';
import { SharedWait } from '../../shared-wait.js';
import type { ArchiveBytes } from '../tar/archive-bytes.js';
import { type Chunks, chunkBytes } from './chunks.js';
import type { Compression } from './compression.js';
import { decompress } from './decompress.js';

/** How long a decompression waits for being gone on with, in milliseconds. */
const idle = 10_000;

/** What the kernel reads ahead may arrive out of order: so many chunks near each other are asked for at once. */
const chunksInMemory = 4;

/** A decompression that stands somewhere and can be gone on with. */
interface Running {
  readonly pieces: AsyncGenerator<Buffer, void, void>;
  readonly abort: AbortController;
  at: number;
  rest: Buffer | undefined;
}

/**
 * What a compressed archive holds, at random: out of the chunks that are kept. One that is not there any more is made
 * again by a decompression from the archive's beginning, or by one that stands before it: what lies far behind costs more
 * then. Neither gzip nor the single frame that zstd writes lets one begin elsewhere.
 */
export class DecompressedArchive implements ArchiveBytes {
  readonly size: number;
  readonly #archive: Disk;
  readonly #compression: Exclude<Compression, 'none'>;
  readonly #chunks: Chunks;
  readonly #making = new Map<number, SharedWait<Buffer>>();
  #turn: Promise<unknown> = Promise.resolve();
  #running: Running | undefined;
  #idle: NodeJS.Timeout | undefined;
  #closed = false;
  /** The chunks that were made last: they can be read even where they could not be kept. */
  readonly #last = new LRUCache<number, Buffer>({ max: chunksInMemory });

  constructor(archive: Disk, compression: Exclude<Compression, 'none'>, chunks: Chunks, size: number) {
    this.#archive = archive;
    this.#compression = compression;
    this.#chunks = chunks;
    this.size = size;
  }

  async read(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    if (offset + target.length > this.size)
      throw new StillError(
        'EIO',
        `the archive holds ${this.size} bytes, not ${target.length} from ${offset} on`,
      );
    for (let done = 0; done < target.length; ) {
      signal?.throwIfAborted();
      const chunk = Math.floor((offset + done) / chunkBytes);
      const within = offset + done - chunk * chunkBytes;
      const part = target.subarray(done, done + Math.min(target.length - done, chunkBytes - within));
      await this.#readChunk(chunk, within, part, signal);
      done += part.length;
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#stop();
    await this.#turn;
    await this.#stop();
    this.#chunks.close();
    await this.#archive.close();
  }

  async #readChunk(chunk: number, within: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    const kept = this.#last.get(chunk);
    if (!kept && (await this.#chunks.read(chunk, this.#lengthOf(chunk), within, target))) return;
    const bytes = kept ?? (await this.#made(chunk, signal));
    target.set(bytes.subarray(within, within + target.length));
  }

  #lengthOf(chunk: number): number {
    return Math.min(chunkBytes, this.size - chunk * chunkBytes);
  }

  #made(chunk: number, signal?: AbortSignal): Promise<Buffer> {
    let making = this.#making.get(chunk);
    if (!making || making.abandoned) {
      const begun: SharedWait<Buffer> = new SharedWait((wanted) =>
        this.#inTurn(() => this.#make(chunk, wanted)).finally(() => {
          if (this.#making.get(chunk) === begun) this.#making.delete(chunk);
        }),
      );
      this.#making.set(chunk, begun);
      making = begun;
    }
    return making.wait(signal);
  }

  /** One decompression at a time. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #make(chunk: number, wanted: AbortSignal): Promise<Buffer> {
    wanted.throwIfAborted();
    if (this.#closed) throw new StillError('EIO', 'the archive was closed');
    const made = this.#last.get(chunk);
    if (made) return made;
    const begin = chunk * chunkBytes;
    const length = this.#lengthOf(chunk);
    const running = await this.#runningBefore(begin);
    const stop = (): void => running.abort.abort(wanted.reason);
    wanted.addEventListener('abort', stop, { once: true });
    try {
      const bytes = Buffer.allocUnsafeSlow(length);
      while (running.at < begin + length) {
        running.rest ??= (await running.pieces.next()).value ?? undefined;
        const { rest } = running;
        if (!rest) throw new StillError('EIO', `the archive ends at byte ${running.at} of what it holds`);
        const until = running.at < begin ? begin : begin + length;
        const taken = Math.min(rest.length, until - running.at);
        if (running.at >= begin) rest.copy(bytes, running.at - begin, 0, taken);
        running.at += taken;
        running.rest = taken < rest.length ? rest.subarray(taken) : undefined;
      }
      this.#last.set(chunk, bytes);
      await this.#chunks.keep(chunk, bytes);
      return bytes;
    } catch (error) {
      await this.#stop();
      throw error;
    } finally {
      wanted.removeEventListener('abort', stop);
      clearTimeout(this.#idle);
      this.#idle = setTimeout(() => {
        this.#inTurn(() => this.#stop()).catch(() => undefined);
      }, idle).unref();
    }
  }

  /** A decompression that has not passed `offset`. */
  async #runningBefore(offset: number): Promise<Running> {
    if (this.#running && this.#running.at <= offset) return this.#running;
    await this.#stop();
    const abort = new AbortController();
    const pieces = decompress(this.#archive, this.#compression, abort.signal);
    this.#running = { pieces, abort, at: 0, rest: undefined };
    return this.#running;
  }

  async #stop(): Promise<void> {
    clearTimeout(this.#idle);
    const running = this.#running;
    this.#running = undefined;
    if (!running) return;
    running.abort.abort();
    await running.pieces.return().catch(() => undefined);
  }
}
