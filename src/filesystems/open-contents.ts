import { StillError } from '../errors.js';
import type { Inode } from '../tree/attributes.js';
import type { FileContent } from './file-system.js';

interface OpenContent {
  readonly content: FileContent;
  readonly size: number;
  readonly inode: Inode;
}

/** The files of a file system that are open, by their handles. */
export class OpenContents {
  readonly #open = new Map<number, OpenContent>();
  #lastHandle = 0;

  add(inode: Inode, content: FileContent, size: number): number {
    this.#open.set(++this.#lastHandle, { inode, content, size });
    return this.#lastHandle;
  }

  /** Reads up to the end of `target` or of the file. */
  async read(handle: number, offset: number, target: Uint8Array, signal: AbortSignal): Promise<number> {
    const { content, size } = this.#at(handle);
    signal.throwIfAborted();
    const length = Math.min(target.length, size - offset);
    if (length <= 0) return 0;
    await content.read(offset, target.subarray(0, length), signal);
    return length;
  }

  /** The next data or hole; the end of the file is a hole. ENXIO: beyond it, or no data follows. */
  async seek(handle: number, offset: number, wanted: 'data' | 'hole', signal: AbortSignal): Promise<number> {
    const { content, size } = this.#at(handle);
    if (offset < 0 || offset >= size)
      throw new StillError('ENXIO', `the file has ${size} bytes: nothing lies at ${offset}`);
    for (let at = offset; at < size; ) {
      signal.throwIfAborted();
      const from = at;
      for (const piece of await content.pieces(at, size - at, signal)) {
        if (piece.length > 0 && piece.hole === (wanted === 'hole') && piece.offset < size)
          return Math.max(piece.offset, offset);
        at = Math.max(at, piece.offset + piece.length);
      }
      if (at === from) throw new StillError('EIO', `what lies at ${at} of the file is not told`);
    }
    if (wanted === 'hole') return size;
    throw new StillError('ENXIO', `the file has no data at or after ${offset}`);
  }

  release(handle: number): void {
    this.#at(handle);
    this.#open.delete(handle);
  }

  clear(): void {
    this.#open.clear();
  }

  #at(handle: number): OpenContent {
    const open = this.#open.get(handle);
    if (open) return open;
    throw new StillError('EBADF', `handle ${handle} of a file system is not open`);
  }
}
