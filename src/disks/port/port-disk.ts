import type { MessagePort } from 'node:worker_threads';
import { StillError } from '../../errors.js';
import type { Extent } from '../../extents.js';
import { errorOf } from '../../port/failure.js';
import { SpareMemory } from '../../port/spare-memory.js';
import { readCached } from '../../posix/read-cached.js';
import type { Disk } from '../disk.js';
import { mustLieWithin } from '../disk-range.js';
import { type DiskAnswer, type DiskRequest, parseDiskAnswer } from './messages.js';
import { mostReadBytes } from './serve-disk.js';

/** The memory that is kept for reads to come, bytes. */
const keptMemory = 4 * 1024 * 1024;

interface Waiting {
  readonly length: number;
  readonly settle: (answer: DiskAnswer) => void;
}

/** What a thread is told of a disk that another one serves, beside the port. */
export interface PortDiskFacts {
  /** Bytes. */
  readonly size: number;
  /** What stands for the disk in errors. */
  readonly name: string;
  /**
   * The disk's own descriptor (`Disk.passthrough`), which stays open as long as this thread lives. Only what the page
   * cache holds is read by it, without any wait.
   */
  readonly descriptor: number | undefined;
}

/**
 * A disk that another thread of this program serves (`serveDisk`): a store that hangs holds no more of the thread pool
 * than the store's queue depth, whichever thread reads.
 */
export class PortDisk implements Disk {
  readonly size: number;
  readonly #port: MessagePort;
  readonly #name: string;
  readonly #descriptor: number | undefined;
  readonly #waiting = new Map<number, Waiting>();
  readonly #memory = new SpareMemory(keptMemory);
  #lastId = 0;
  #closed = false;

  constructor(port: MessagePort, { size, name, descriptor }: PortDiskFacts) {
    this.#port = port;
    this.size = size;
    this.#name = name;
    this.#descriptor = descriptor;
    port.on('message', (message: unknown) => this.#receive(message));
    port.on('close', () => this.#end(new StillError('EIO', `${name} is not served any more`)));
  }

  async read(offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    mustLieWithin(this, this.#name, offset, target.length);
    signal?.throwIfAborted();
    if (this.#closed) throw new StillError('EBADF', `${this.#name} is closed`);
    const cached = this.#descriptor === undefined ? 0 : readCached(this.#descriptor, offset, target);
    for (let done = cached; done < target.length; ) {
      const part = target.subarray(done, done + mostReadBytes);
      await this.#read(offset + done, part, signal);
      done += part.length;
    }
  }

  async extents(offset: number, length: number, signal?: AbortSignal): Promise<Extent[]> {
    mustLieWithin(this, this.#name, offset, length);
    const id = ++this.#lastId;
    const answer = await this.#ask({ kind: 'extents', id, offset, length }, 0, signal);
    return answer.kind === 'extents' ? [...answer.extents] : [];
  }

  async close(): Promise<void> {
    this.#end(new StillError('EBADF', `${this.#name} is closed`));
    this.#port.close();
  }

  async #read(offset: number, target: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    const { length } = target;
    const memory = this.#memory.take(length);
    const id = ++this.#lastId;
    const answer = await this.#ask({ kind: 'read', id, offset, length, memory }, length, signal);
    if (answer.kind !== 'read') return;
    target.set(new Uint8Array(answer.memory, 0, length));
    this.#keepMemory(answer.memory);
  }

  #ask(request: DiskRequest, length: number, signal: AbortSignal | undefined): Promise<DiskAnswer> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.#closed) throw new StillError('EBADF', `${this.#name} is closed`);
      const { id } = request;
      const abort = (): void => {
        this.#waiting.delete(id);
        const giveUp: DiskRequest = { kind: 'abort', id };
        this.#port.postMessage(giveUp);
        reject(signal?.reason);
      };
      signal?.addEventListener('abort', abort, { once: true });
      const settle = (answer: DiskAnswer): void => {
        signal?.removeEventListener('abort', abort);
        if (answer.kind === 'failure') reject(errorOf(answer.failure, undefined));
        else resolve(answer);
      };
      this.#waiting.set(id, { length, settle });
      const memory = request.kind === 'read' && request.memory ? [request.memory] : [];
      this.#port.postMessage(request, memory);
    });
  }

  #receive(message: unknown): void {
    const answer = parseDiskAnswer(message, (id) => this.#waiting.get(id)?.length ?? 0);
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if (waiting) waiting.settle(answer);
    else if (answer.kind === 'read') this.#keepMemory(answer.memory);
  }

  #end(reason: StillError): void {
    if (this.#closed) return;
    this.#closed = true;
    const failure = { kind: 'error', code: reason.code, message: reason.message } as const;
    for (const [id, { settle }] of this.#waiting) settle({ kind: 'failure', id, failure });
    this.#waiting.clear();
    this.#memory.clear();
  }

  #keepMemory(memory: ArrayBuffer): void {
    if (!this.#closed) this.#memory.keep(memory);
  }
}
