import { close, constants, fstat, open } from 'node:fs';
import { StillError } from '../errors.js';
import { type Name, nameToText } from '../name.js';
import { O_PATH, openBeneath } from '../posix/openat2.js';
import { QueueDepth } from '../queue-depth.js';

/** How many file calls one store may have under way: what a hung store can keep from all the others. */
const defaultDepth = 8;

/**
 * A folder that all of a store's files lie beneath. Everything in a store is opened through it, so that no symlink and
 * no `..` in a backup leads out, and no more file calls are under way than the store's queue depth allows.
 */
export class StoreFolder {
  private constructor(
    /** For messages only: the path that a person gave. */
    readonly path: string,
    readonly descriptor: number,
    readonly depth: QueueDepth,
  ) {}

  static async open(path: string, depth: number = defaultDepth, signal?: AbortSignal): Promise<StoreFolder> {
    const queue = new QueueDepth(depth);
    const flags = O_PATH | constants.O_DIRECTORY;
    const opening = (): Promise<number> =>
      new Promise((resolve, reject) => {
        open(path, flags, (error, descriptor) => (error ? reject(error) : resolve(descriptor)));
      });
    return new StoreFolder(path, await queue.run(opening, signal, closeLate), queue);
  }

  /** Opens what lies at a path beneath the folder, without following any symlink. The caller closes the descriptor. */
  openFile(path: Name, flags: number, signal?: AbortSignal): Promise<number> {
    return this.depth.run(() => openBeneath(this.descriptor, path, flags), signal, closeLate);
  }

  /**
   * Opens a regular file for reading. Anything else is refused before it is opened (opening a fifo or a device may
   * wait, or do something): EINVAL.
   */
  async openRegularFile(path: Name, signal?: AbortSignal): Promise<number> {
    const named = await this.openFile(path, O_PATH, signal);
    try {
      const isFile = await this.depth.run(
        () =>
          new Promise<boolean>((resolve, reject) => {
            fstat(named, (error, stats) => (error ? reject(error) : resolve(stats.isFile())));
          }),
        signal,
      );
      if (!isFile) {
        throw new StillError(
          'EINVAL',
          `${this.path}/${nameToText(path)} is not a regular file; only regular files are read`,
        );
      }
      // The magic link opens the very file that was just looked at, whatever its name leads to by now.
      return await this.depth.run(
        () =>
          new Promise<number>((resolve, reject) => {
            open(`/proc/self/fd/${named}`, constants.O_RDONLY, (error, descriptor) =>
              error ? reject(error) : resolve(descriptor),
            );
          }),
        signal,
        closeLate,
      );
    } finally {
      closeLate(named);
    }
  }

  close(): void {
    closeLate(this.descriptor);
  }
}

/** Closes in the pool: close(2) may wait for a server. What it could report concerns nothing that was written. */
function closeLate(descriptor: number): void {
  close(descriptor, () => undefined);
}
