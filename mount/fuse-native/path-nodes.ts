import { LRUCache } from 'lru-cache';
import { StillError } from '../../src/errors.js';
import { type Name, nameFromText } from '../../src/name.js';
import type { Attributes } from '../../src/tree/attributes.js';
import type { Forest, Node } from '../forest/forest.js';
import type { NodeNumber } from '../forest/node-number.js';

/** A name in a folder that was found before. The forest counts its node and its folder as known while it is here. */
interface KnownName {
  readonly folder: NodeNumber;
  readonly node: NodeNumber;
  /** Milliseconds of `performance.now()`. */
  readonly freshUntil: number;
}

/** How many names are kept: some megabytes. */
const defaultBound = 16_384;

/**
 * libfuse 2 speaks of files by their paths: this finds their nodes, name by name, and keeps what it has found as long
 * as the tree says that it holds, as the kernel does with its own table of names.
 */
export class PathNodes {
  readonly #forest: Forest;
  readonly #names: LRUCache<string, KnownName>;
  /** Counts changes, so that an answer from before one is not kept after it. */
  #changes = 0;

  constructor(forest: Forest, bound: number = defaultBound) {
    this.#forest = forest;
    this.#names = new LRUCache({
      max: bound,
      dispose: (known) => {
        forest.forget(known.node, 1);
        forest.forget(known.folder, 1);
      },
    });
  }

  /** How many names are kept at present. */
  get size(): number {
    return this.#names.size;
  }

  /**
   * Works on the node that a path leads to; it stays known until the work has ended. Its attributes are given too where
   * the way there has just told them. ENOENT: there is no such name.
   */
  async use<T>(
    path: string,
    signal: AbortSignal,
    work: (node: Node, attributes: Attributes | undefined) => Promise<T>,
  ): Promise<T> {
    const forest = this.#forest;
    let node = forest.remember(forest.root);
    let attributes: Attributes | undefined;
    try {
      for (const text of path.split('/')) {
        if (text === '') continue;
        const name = nameFromText(text);
        const folder = node;
        const known = this.#known(folder, name);
        if (known) {
          node = known;
          attributes = undefined;
        } else {
          ({ node, attributes } = await this.#find(folder, name, signal));
        }
        forest.forget(folder.number, 1);
      }
      return await work(node, attributes);
    } finally {
      forest.forget(node.number, 1);
    }
  }

  /** The same for the folder that a path's last name lies in, and that name. */
  useParent<T>(
    path: string,
    signal: AbortSignal,
    work: (folder: Node, name: Name) => Promise<T>,
  ): Promise<T> {
    const slash = path.lastIndexOf('/');
    const name = nameFromText(path.slice(slash + 1));
    return this.use(path.slice(0, slash), signal, (folder) => work(folder, name));
  }

  /** A name stands for something else from now on, or for nothing. */
  changed(folder: Node, name: Name): void {
    this.#changes++;
    this.#names.delete(keyOf(folder, name));
  }

  clear(): void {
    this.#changes++;
    this.#names.clear();
  }

  /** The node that a name is known to stand for, counted as known once more. */
  #known(folder: Node, name: Name): Node | undefined {
    const known = this.#names.get(keyOf(folder, name));
    if (!known || known.freshUntil <= performance.now()) return undefined;
    const node = this.#forest.known(known.node);
    return node && this.#forest.remember(node);
  }

  async #find(
    folder: Node,
    name: Name,
    signal: AbortSignal,
  ): Promise<{ node: Node; attributes: Attributes }> {
    const changes = this.#changes;
    const asked = performance.now();
    const found = await this.#forest.lookup(folder, name, signal);
    if (!found.node) throw new StillError('ENOENT', `there is no ${this.#forest.pathOf(folder, name)}`);
    if (found.freshSeconds > 0 && changes === this.#changes) {
      this.#names.set(keyOf(folder, name), {
        folder: this.#forest.remember(folder).number,
        node: this.#forest.remember(found.node).number,
        freshUntil: asked + found.freshSeconds * 1000,
      });
    }
    return found;
  }
}

function keyOf(folder: Node, name: Name): string {
  return `${folder.number} ${name}`;
}
