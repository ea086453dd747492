import { StillError } from '../../src/errors.js';
import type { Entry, Opened } from '../../src/tree/tree.js';
import type { Node } from '../forest/forest.js';
import type { NodeNumber } from '../forest/node-number.js';

/** A file that a process has open. */
export interface OpenFile {
  readonly node: Node;
  readonly opened: Opened;
  /** Whether the kernel reads it by itself. */
  readonly passthrough: boolean;
  /** Ends the hold on the node's tree. */
  readonly letGo: () => void;
}

/** A folder that a process is listing: the entries that the tree gave and the kernel has not taken yet. */
export interface OpenFolder {
  readonly node: Node;
  /** Nothing in it ever changes. */
  readonly lasting: boolean;
  /** The cookie that `entries` come after. */
  after: bigint;
  entries: readonly Entry[];
  readonly letGo: () => void;
}

/** Open things by the number that the kernel calls them. Numbers are not used again. */
class Handles<T> {
  readonly #open = new Map<number, T>();
  #last = 0;

  add(value: T): number {
    this.#last++;
    this.#open.set(this.#last, value);
    return this.#last;
  }

  get(handle: number): T {
    const value = this.#open.get(handle);
    if (value === undefined)
      throw new StillError('EBADF', `the kernel used handle ${handle}, which is not open`);
    return value;
  }

  remove(handle: number): T {
    const value = this.get(handle);
    this.#open.delete(handle);
    return value;
  }

  removeAll(): T[] {
    const all = [...this.#open.values()];
    this.#open.clear();
    return all;
  }

  get size(): number {
    return this.#open.size;
  }
}

/** Files also know how often each node is open. */
export class OpenFiles extends Handles<OpenFile> {
  readonly #opens = new Map<NodeNumber, number>();

  override add(file: OpenFile): number {
    this.#opens.set(file.node.number, this.opensOf(file.node.number) + 1);
    return super.add(file);
  }

  override remove(handle: number): OpenFile {
    const file = super.remove(handle);
    const left = this.opensOf(file.node.number) - 1;
    if (left > 0) this.#opens.set(file.node.number, left);
    else this.#opens.delete(file.node.number);
    return file;
  }

  override removeAll(): OpenFile[] {
    this.#opens.clear();
    return super.removeAll();
  }

  opensOf(node: NodeNumber): number {
    return this.#opens.get(node) ?? 0;
  }
}

export class OpenFolders extends Handles<OpenFolder> {}
