import { StillError } from '../errors.js';
import { type Name, nameToText } from '../name.js';
import type { NodeAttributes, OpenFile } from './node.js';

interface Open {
  readonly path: Name;
  file: OpenFile;
  /** What stat told when it was opened; gone with what it shows. */
  attributes: NodeAttributes | undefined;
}

/** The files of a layout that are open, by their handles. */
export class OpenFiles {
  readonly #open = new Map<number, Open>();
  #lastHandle = 0;

  add(path: Name, file: OpenFile, attributes: NodeAttributes): number {
    const handle = ++this.#lastHandle;
    this.#open.set(handle, { path, file, attributes });
    return handle;
  }

  /** What a file was when it was opened, as long as it can be read. */
  attributes(path: Name): NodeAttributes | undefined {
    for (const open of this.#open.values()) if (open.path === path) return open.attributes;
    return undefined;
  }

  get(handle: number): OpenFile {
    const open = this.#open.get(handle);
    if (open) return open.file;
    throw new StillError('EBADF', `handle ${handle} is not open`);
  }

  release(handle: number): void {
    const file = this.get(handle);
    this.#open.delete(handle);
    file.release();
  }

  /** Lets go of what lies below a path; from then on whoever has it open gets EIO. */
  end(path: Name): void {
    for (const open of this.#open.values()) {
      if (!open.path.startsWith(`${path}/`)) continue;
      const { file } = open;
      open.file = endedFile(open.path, file.size);
      open.attributes = undefined;
      file.release();
    }
  }

  releaseAll(): void {
    for (const { file } of this.#open.values()) file.release();
    this.#open.clear();
  }
}

/** What is left of an open file when what it shows is there no more. */
function endedFile(path: Name, size: number): OpenFile {
  const ended = async (): Promise<never> => {
    throw new StillError('EIO', `${nameToText(path)} can't be used any more: its snapshot has ended`);
  };
  return {
    cache: 'direct',
    size,
    read: ended,
    seek: ended,
    write: ended,
    discard: ended,
    release: () => undefined,
  };
}
