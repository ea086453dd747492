import type { MessagePort } from 'node:worker_threads';
import { StillError } from '../../errors.js';
import type { Inode } from '../attributes.js';
import type { Tree } from '../tree.js';
import type { OptionalOperation } from './messages.js';
import { parseToClient } from './parse.js';
import { PortTree } from './port-tree.js';

/** The worker, as far as its trees need to know it. */
export interface OwningWorker {
  /** It lives: something came from it. */
  heard(): void;
  fail(happened: string, cause: unknown): void;
}

/** The trees of one worker that serves several, each through a port of its own (`serveTree`). */
export class PortTrees {
  readonly #trees = new Set<PortTree>();
  readonly #broken = new AbortController();
  readonly #worker: OwningWorker;

  constructor(worker: OwningWorker) {
    this.#worker = worker;
  }

  /** Whether the worker owes an answer. */
  get awaited(): boolean {
    for (const tree of this.#trees) if (tree.awaited) return true;
    return false;
  }

  /** The tree at the other end of a port, as soon as it is served. Closing it closes the port and calls `closed`. */
  async adopt(port: MessagePort, closed: () => void): Promise<Tree> {
    const { signal } = this.#broken;
    let leave = (): void => undefined;
    try {
      return await new Promise<Tree>((resolve, reject) => {
        leave = () => reject(signal.reason);
        signal.addEventListener('abort', leave, { once: true });
        if (signal.aborted) leave();
        let tree: PortTree | undefined;
        port.on('message', (value: unknown) => {
          this.#worker.heard();
          try {
            const message = parseToClient(value);
            if (message.kind === 'ready') {
              tree = this.#made(port, message.root, message.operations, closed);
              resolve(tree);
            } else tree?.receive(message);
          } catch (error) {
            this.#worker.fail('sent what can not be understood', error);
          }
        });
        port.on('close', () => {
          reject(new StillError('EIO', 'the worker that should read this tree does not serve it'));
          // A port that is closed by its other end tells of a worker's end before the worker itself does.
          if (tree && this.#trees.has(tree)) this.#worker.fail('serves no more', undefined);
        });
      });
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }

  #made(
    port: MessagePort,
    root: Inode,
    operations: readonly OptionalOperation[],
    closed: () => void,
  ): PortTree {
    const tree: PortTree = new PortTree(port, root, operations, async () => {
      this.#trees.delete(tree);
      port.close();
      closed();
    });
    this.#trees.add(tree);
    return tree;
  }

  /** Nothing will ever come from the worker again. */
  break(reason: StillError): void {
    this.#broken.abort(reason);
    for (const tree of this.#trees) tree.break(reason);
    this.#trees.clear();
  }
}
