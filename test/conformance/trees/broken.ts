import type { Name } from '../../../src/name.js';
import type { Inode } from '../../../src/tree/attributes.js';
import type { Access, Found, Opened } from '../../../src/tree/tree.js';
import { MemoryTree } from '../memory-tree.js';
import type { TreeUnderTest } from './tree-under-test.js';

/** A tree with mistakes in its program. */
class Broken extends MemoryTree {
  override async lookup(folder: Inode, name: Name, signal: AbortSignal): Promise<Found> {
    if (name === 'lookup-throws') throw new TypeError('lookup met undefined');
    if (name === 'lookup-throws-text') throw 'just a text';
    return super.lookup(folder, name, signal);
  }

  override async open(inode: Inode, access: Access, signal: AbortSignal): Promise<Opened> {
    const opened = await super.open(inode, access, signal);
    if (this.entries(this.root).inode('opens-late' as Name) !== inode) return opened;
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    return { ...opened, handle: Number.NaN };
  }
}

/**
 * Reading `read-throws` fails by a mistake in the program; reading the others takes down the thread that serves it.
 * Opening `opens-late` waits for the abort, and then gives nonsense.
 */
export function brokenTree(): TreeUnderTest {
  const tree = new Broken();
  const file = (name: string, read: () => number): void => {
    tree.link(tree.root, name, tree.addFile({ read }, { size: 4096, allocated: 4096 }, 'direct'));
  };
  file('fine', () => 4096);
  file('opens-late', () => 4096);
  file('read-throws', () => {
    throw new TypeError('read met undefined');
  });
  file('exits', () => process.exit(7));
  file('crashes', () => {
    queueMicrotask(() => {
      throw new Error('crashed, as it shall');
    });
    return 4096;
  });
  file('hangs', () => {
    for (;;);
  });
  file('takes-memory', () => {
    const taken: unknown[] = [];
    for (;;) taken.push(new Array(1000).fill({}));
  });
  return { tree };
}
