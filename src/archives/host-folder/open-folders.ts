import { constants } from 'node:fs';
import { LRUCache } from 'lru-cache';
import { hasCode, StillError } from '../../errors.js';
import type { Name } from '../../name.js';
import { closeNamed } from '../../posix/named-descriptor.js';
import { O_PATH, openBeneath, openBeneathIfCached } from '../../posix/openat2.js';
import { type FileStatus, statusIfCached, statusOf } from '../../posix/statx.js';
import type { Inode } from '../../tree/attributes.js';
import type { InodeNumbers } from './inode-numbers.js';
import type { KnownFiles } from './known-files.js';
import { SharedDescriptor } from './shared-descriptor.js';

/** How many folders stay open: enough for a few walks at a time, few enough for a thousand opened backups. */
const mostOpen = 32;
/** PATH_MAX without its NUL. */
const longestPath = 4095;
const flags = O_PATH | constants.O_DIRECTORY;

/** The folders that were used last, as descriptors that name them; others are found again from those or from the root. */
export class OpenFolders {
  readonly #root: SharedDescriptor;
  readonly #files: KnownFiles;
  readonly #numbers: InodeNumbers;
  readonly #open = new LRUCache<Inode, SharedDescriptor>({
    max: mostOpen,
    dispose: (descriptor) => descriptor.letGo(),
  });
  #closed = false;

  constructor(root: SharedDescriptor, files: KnownFiles, numbers: InodeNumbers) {
    this.#root = root;
    this.#files = files;
    this.#numbers = numbers;
  }

  /**
   * A folder's descriptor without any wait, good until the next wait; undefined where the disk or a server would have
   * to be asked. ESTALE: another folder, or none, has its name by now.
   */
  now(folder: Inode): number | undefined {
    this.#mustBeOpen();
    const open = this.#open.get(folder);
    if (open) return open.number;
    const { from, paths } = this.#wayTo(folder);
    let descriptor = from.number;
    try {
      for (const path of paths) {
        const next = openBeneathIfCached(descriptor, path, flags);
        if (descriptor !== from.number) closeNamed(descriptor);
        descriptor = next;
      }
      if (descriptor === from.number) return descriptor;
      const status = statusIfCached(descriptor);
      if (!status) {
        closeNamed(descriptor);
        return undefined;
      }
      this.#check(folder, status);
    } catch (error) {
      if (descriptor !== from.number) closeNamed(descriptor);
      if (hasCode(error, 'EAGAIN')) return undefined;
      throw goneMeanwhile(folder, error);
    }
    return this.#keep(folder, descriptor).number;
  }

  /** A folder's descriptor, which the caller lets go. Waits in the pool: to be called within the store's queue depth. */
  async later(folder: Inode): Promise<SharedDescriptor> {
    this.#mustBeOpen();
    const open = this.#open.get(folder);
    if (open) return open.hold();
    const { from, paths } = this.#wayTo(folder);
    let held = from.hold();
    try {
      for (const path of paths) {
        const next = new SharedDescriptor(await openBeneath(held.number, path, flags), closeNamed);
        held.letGo();
        held = next;
      }
      if (held === from) return held;
      this.#check(folder, statusIfCached(held.number) ?? (await statusOf(held.number)));
    } catch (error) {
      held.letGo();
      throw goneMeanwhile(folder, error);
    }
    const meanwhile = this.#open.get(folder);
    if (meanwhile || this.#closed) return held;
    this.#open.set(folder, held.hold());
    return held;
  }

  close(): void {
    this.#closed = true;
    this.#open.clear();
  }

  /** The root's descriptor may have another file's number by now. */
  #mustBeOpen(): void {
    if (this.#closed) throw new StillError('EIO', 'the folder of the container was let go');
  }

  #keep(folder: Inode, descriptor: number): SharedDescriptor {
    const kept = new SharedDescriptor(descriptor, closeNamed);
    this.#open.set(folder, kept);
    return kept;
  }

  #check(folder: Inode, status: FileStatus): void {
    if (this.#numbers.numberOf(status) !== folder) {
      throw new StillError('ESTALE', `folder ${folder} was replaced by another one; look it up anew`);
    }
  }

  /** The nearest open folder above, and the path from there, in pieces that the system takes. */
  #wayTo(folder: Inode): { from: SharedDescriptor; paths: Name[] } {
    const names: Name[] = [];
    let from: SharedDescriptor | undefined;
    for (let at = folder; !from; ) {
      const place = this.#files.placeOf(at);
      if (place) {
        names.push(place.name);
        at = place.folder;
      }
      from = place ? this.#open.get(at) : this.#root;
    }
    const paths: Name[] = [];
    let path = '';
    for (const name of names.reverse()) {
      if (path.length + 1 + name.length > longestPath) {
        paths.push(path as Name);
        path = name;
      } else path = path === '' ? name : `${path}/${name}`;
    }
    if (path !== '') paths.push(path as Name);
    return { from, paths };
  }
}

/** A known folder that is not where it was: ESTALE. A link in its place is not followed (ELOOP). */
function goneMeanwhile(folder: Inode, error: unknown): unknown {
  if (!['ENOENT', 'ELOOP', 'EXDEV'].some((code) => hasCode(error, code as 'ENOENT'))) return error;
  return new StillError('ESTALE', `folder ${folder} is not where it was found; look it up anew`, {
    cause: error,
  });
}
