import { type FSWatcher, fstat, statfs, watch } from 'node:fs';
import { promisify } from 'node:util';
import { LRUCache } from 'lru-cache';
import { hasCode } from '../../errors.js';
import type { Logger } from '../../log.js';
import { type Name, nameFromBytes } from '../../name.js';

const statDescriptor = promisify(fstat);
const statFileSystem = promisify(statfs);

/**
 * statfs(2) numbers (linux/magic.h) of the file systems where inotify sees every change and setting a watch never waits
 * for a server: ext2 to 4, XFS, Btrfs, tmpfs, ZFS, F2FS, bcachefs, overlayfs.
 */
const tellsChanges = new Set([
  0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x2fc12fc1, 0xf2f52010, 0xca451a4e, 0x794c7630,
]);

/** At most so many folders of a store are watched: those that were listed last. */
const mostWatches = 1000;

/**
 * Watches folders of a store, as far as the system lets it. It only makes changes known sooner: whoever lists a folder
 * looks at its time as well, so a watch that is refused, lost or dropped costs freshness, not truth.
 */
export class FolderWatches {
  readonly #log: Logger;
  readonly #watchers: LRUCache<Name, FSWatcher>;
  readonly #watchable = new Map<number, boolean>();
  #refused = false;
  #closed = false;

  constructor(log: Logger, most = mostWatches) {
    this.#log = log;
    this.#watchers = new LRUCache({ max: most, dispose: (watcher) => watcher.close() });
  }

  /**
   * Has `changed` called, with the name if the system tells one, whenever something comes to or leaves a folder.
   * `descriptor` is the folder's, open until this settles. Watching a folder again changes nothing.
   */
  async watch(folder: Name, descriptor: number, changed: (name: Name | undefined) => void): Promise<void> {
    if (this.#refused || this.#watchers.get(folder)) return;
    if (!(await this.#canWatch(descriptor))) return;
    if (this.#closed || this.#watchers.has(folder)) return;
    try {
      // Through the magic link no path is walked: what is watched is the very folder that is open.
      const path = `/proc/self/fd/${descriptor}`;
      const watcher = watch(path, { persistent: false, encoding: 'buffer' }, (_event, name) =>
        changed(name ? nameFromBytes(name) : undefined),
      );
      watcher.on('error', (error) => {
        this.#log.debug({ error, folder }, 'a watch ended');
        this.drop(folder);
      });
      this.#watchers.set(folder, watcher);
    } catch (error) {
      this.#refused = hasCode(error, 'ENOSPC') || hasCode(error, 'EMFILE');
      this.#log.info({ error }, 'the system allows no more watches; changes are seen at the next access');
    }
  }

  drop(folder: Name): void {
    this.#watchers.delete(folder);
  }

  close(): void {
    this.#closed = true;
    this.#watchers.clear();
  }

  async #canWatch(descriptor: number): Promise<boolean> {
    const { dev } = await statDescriptor(descriptor);
    const known = this.#watchable.get(dev);
    if (known !== undefined) return known;
    const { type } = await statFileSystem(`/proc/self/fd/${descriptor}`);
    const watchable = tellsChanges.has(type);
    this.#watchable.set(dev, watchable);
    return watchable;
  }
}
