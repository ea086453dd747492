import { StillError } from '../../src/errors.js';
import type { Node } from '../forest/forest.js';

/** A file that a process has open. */
export interface OpenFile {
  readonly node: Node;
  /** What the tree calls it. */
  readonly handle: number;
  /** The size that the tree gave when it was opened, if it did. */
  readonly size?: number | undefined;
  /** Ends the hold on the node's tree. */
  readonly letGo: () => void;
}

/** The package hands numbers of open files on as signed 32 bits, and 0 means none. */
const largestNumber = 2 ** 31 - 1;

/** Open files by the number that libfuse calls them. */
export class OpenFiles {
  readonly #open = new Map<number, OpenFile>();
  #last = 0;

  add(file: OpenFile): number {
    do this.#last = this.#last === largestNumber ? 1 : this.#last + 1;
    while (this.#open.has(this.#last));
    this.#open.set(this.#last, file);
    return this.#last;
  }

  get(number: number): OpenFile {
    const file = this.#open.get(number);
    if (!file) throw new StillError('EBADF', `libfuse used file ${number}, which is not open`);
    return file;
  }

  remove(number: number): OpenFile {
    const file = this.get(number);
    this.#open.delete(number);
    return file;
  }

  removeAll(): OpenFile[] {
    const all = [...this.#open.values()];
    this.#open.clear();
    return all;
  }

  get size(): number {
    return this.#open.size;
  }
}
