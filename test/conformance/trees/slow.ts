import type { Name } from '../../../src/name.js';
import type { Inode } from '../../../src/tree/attributes.js';
import type { Entry, Found } from '../../../src/tree/tree.js';
import { MemoryTree } from '../memory-tree.js';
import type { TreeUnderTest } from './tree-under-test.js';

/** Something that is waited for until it has happened so many times. */
class Counter {
  #count = 0;
  readonly #waiting: Array<{ count: number; resolve: () => void }> = [];

  get count(): number {
    return this.#count;
  }

  increment(): void {
    this.#count++;
    for (const waiting of this.#waiting) if (waiting.count <= this.#count) waiting.resolve();
  }

  async reaches(count: number): Promise<number> {
    if (this.#count < count) {
      await new Promise<void>((resolve) => this.#waiting.push({ count, resolve }));
    }
    return this.#count;
  }
}

/** Answers about what is slow only when it is told to. */
class Slow extends MemoryTree {
  readonly begun = new Counter();
  readonly aborted = new Counter();
  readonly #held = new Set<() => void>();
  #quick = false;

  /** Waits for `release`, or for the signal. */
  async hold(signal: AbortSignal): Promise<void> {
    if (this.#quick) return;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#held.add(resolve);
        signal.addEventListener('abort', () => reject(signal.reason), { once: true });
        this.begun.increment();
      });
    } catch (error) {
      this.aborted.increment();
      throw error;
    }
  }

  /** Is slow no more. */
  letGo(): void {
    this.#quick = true;
    for (const resolve of this.#held) resolve();
    this.#held.clear();
  }

  override async lookup(folder: Inode, name: Name, signal: AbortSignal): Promise<Found> {
    if (name === 'slow-name') await this.hold(signal);
    return super.lookup(folder, name, signal);
  }

  /** What is slow to find is listed without its attributes. */
  override async list(folder: Inode, after: bigint, signal: AbortSignal): Promise<readonly Entry[]> {
    const entries = await super.list(folder, after, signal);
    return entries.map(({ found, ...entry }) =>
      entry.name === 'slow-name' || !found ? entry : { ...entry, found },
    );
  }
}

export const slowFiles = 200;
export const slowBytes = 4096;
/** More than a page: the kernel reads ahead. */
export const slowCachedBytes = 65_536;

/** `slow-0`, `slow-1`…, `cached-0`… and `slow-name` wait until told; `quick` does not. */
export function slowTree(): TreeUnderTest {
  const tree = new Slow();
  tree.link(tree.root, 'quick', tree.addFile('quick', {}, 'direct'));
  tree.link(tree.root, 'slow-name', tree.addFile('at last'));
  for (let index = 0; index < slowFiles; index++) {
    const read = async (_offset: number, target: Uint8Array, signal: AbortSignal): Promise<number> => {
      await tree.hold(signal);
      return target.fill('s'.charCodeAt(0)).length;
    };
    const direct = { size: slowBytes, allocated: slowBytes };
    tree.link(tree.root, `slow-${index}`, tree.addFile({ read }, direct, 'direct'));
    const cached = { size: slowCachedBytes, allocated: slowCachedBytes };
    tree.link(tree.root, `cached-${index}`, tree.addFile({ read }, cached, 'keep'));
  }
  return {
    tree,
    commands: {
      begun: (count) => tree.begun.reaches(Number(count)),
      aborted: (count) => tree.aborted.reaches(Number(count)),
      counts: () => ({ begun: tree.begun.count, aborted: tree.aborted.count, opened: tree.opened }),
      release: () => {
        tree.letGo();
        return null;
      },
    },
  };
}
