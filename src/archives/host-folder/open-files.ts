import { read } from 'node:fs';
import { StillError } from '../../errors.js';
import { readCached } from '../../posix/read-cached.js';
import { seek } from '../../posix/seek.js';
import type { QueueDepth } from '../../queue-depth.js';
import type { Inode } from '../../tree/attributes.js';
import type { SharedDescriptor } from './shared-descriptor.js';

interface OpenFile {
  readonly inode: Inode;
  readonly descriptor: SharedDescriptor;
  /** Bytes, when it was opened: a file that doesn't grow need not be asked for more. Infinite for one that may. */
  readonly size: number;
}

/** The files that are open, by their handles. */
export class OpenFiles {
  readonly #files = new Map<number, OpenFile>();
  readonly #depth: QueueDepth;
  #lastHandle = 0;
  #closed = false;

  constructor(depth: QueueDepth) {
    this.#depth = depth;
  }

  /** Takes an opened file over, and closes it at the end. */
  add(inode: Inode, descriptor: SharedDescriptor, size: number): number {
    if (this.#closed) {
      descriptor.letGo();
      throw letGo();
    }
    this.#lastHandle++;
    this.#files.set(this.#lastHandle, { inode, descriptor, size });
    return this.#lastHandle;
  }

  /** Reads up to the end of `target` or of the file. */
  async read(handle: number, offset: number, target: Uint8Array, signal: AbortSignal): Promise<number> {
    const { descriptor, size } = this.#file(handle);
    const length = Math.min(target.length, size - offset);
    if (length <= 0) return 0;
    const cached = readCached(descriptor.number, offset, target.subarray(0, length));
    if (cached === length) return length;
    return this.#use(descriptor, signal, async (number) => {
      let filled = cached;
      while (filled < length) {
        const more = await readOnce(number, target, filled, length - filled, offset + filled);
        if (more === 0) break;
        filled += more;
      }
      return filled;
    });
  }

  seek(handle: number, offset: number, wanted: 'data' | 'hole', signal: AbortSignal): Promise<number> {
    return this.#use(this.#file(handle).descriptor, signal, (number) => seek(number, offset, wanted));
  }

  release(handle: number): void {
    if (this.#closed) return;
    const { descriptor } = this.#file(handle);
    this.#files.delete(handle);
    descriptor.letGo();
  }

  /** Closes all; who still has one open gets errors. Tells which those are. */
  close(): ReadonlySet<Inode> {
    this.#closed = true;
    const open = new Set<Inode>();
    for (const { inode, descriptor } of this.#files.values()) {
      open.add(inode);
      descriptor.letGo();
    }
    this.#files.clear();
    return open;
  }

  #use<T>(
    descriptor: SharedDescriptor,
    signal: AbortSignal,
    call: (number: number) => Promise<T>,
  ): Promise<T> {
    return this.#depth.run(async () => {
      descriptor.hold();
      try {
        return await call(descriptor.number);
      } finally {
        descriptor.letGo();
      }
    }, signal);
  }

  #file(handle: number): OpenFile {
    const file = this.#files.get(handle);
    if (file) return file;
    if (this.#closed) throw letGo();
    throw new StillError('EBADF', `handle ${handle} of a container's folder is not open`);
  }
}

function letGo(): StillError {
  return new StillError('EIO', 'the folder of the container was let go');
}

function readOnce(
  descriptor: number,
  target: Uint8Array,
  at: number,
  length: number,
  offset: number,
): Promise<number> {
  return new Promise((resolve, reject) => {
    read(descriptor, target, at, length, offset, (error, count) => (error ? reject(error) : resolve(count)));
  });
}
