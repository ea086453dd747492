import { type FileHandle, open } from 'node:fs/promises';
import { LRUCache } from 'lru-cache';
import { hasCode } from '../../errors.js';
import { CacheFolder } from './cache-folder.js';

/** A decompressed archive is kept in files of this many bytes. */
export const chunkBytes = 4 << 20;
const mostOpen = 64;

/** The chunks of one decompressed archive in a cache folder. Any of them may go at any time. */
export class Chunks {
  readonly #cache: CacheFolder;
  readonly #identity: string;
  readonly #open = new LRUCache<number, FileHandle>({
    max: mostOpen,
    dispose: (file) => {
      file.close().catch(() => undefined);
    },
  });

  constructor(cache: CacheFolder, identity: string) {
    this.#cache = cache;
    this.#identity = identity;
  }

  /**
   * Reads out of a chunk. False: it is not there, or not as long as it should be (`length`).
   */
  async read(chunk: number, length: number, offset: number, target: Uint8Array): Promise<boolean> {
    try {
      const file = this.#open.get(chunk) ?? (await this.#opened(chunk, length));
      if (!file) return false;
      for (let done = 0; done < target.length; ) {
        const { bytesRead } = await file.read(target, done, target.length - done, offset + done);
        if (bytesRead === 0) return false;
        done += bytesRead;
      }
      return true;
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return false;
      // Closed by another read that needed the room, or a disk that fails: the archive still has the bytes.
      this.#open.delete(chunk);
      return false;
    }
  }

  /** Keeps a chunk, if there is room for it. */
  async keep(chunk: number, bytes: Uint8Array): Promise<void> {
    this.#open.delete(chunk);
    try {
      await this.#cache.put(this.#nameOf(chunk), bytes.length, async (file) => {
        for (let done = 0; done < bytes.length; ) {
          const { bytesWritten } = await file.write(bytes, done, bytes.length - done, done);
          done += bytesWritten;
        }
      });
    } catch {
      // A cache that can't be written to makes reading slow, not wrong.
    }
  }

  close(): void {
    this.#open.clear();
  }

  async #opened(chunk: number, length: number): Promise<FileHandle | undefined> {
    const name = this.#nameOf(chunk);
    const file = await open(this.#cache.pathOf(name), 'r');
    const { size } = await file.stat();
    if (size !== length) {
      await file.close();
      await this.#cache.drop(name);
      return undefined;
    }
    await this.#cache.touch(name);
    this.#open.set(chunk, file);
    return file;
  }

  #nameOf(chunk: number): string {
    return CacheFolder.nameOf(this.#identity, `chunk-${chunk}`);
  }
}
