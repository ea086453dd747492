import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Inode } from '../../../src/tree/attributes.js';
import type { Access, Opened } from '../../../src/tree/tree.js';
import { MemoryTree } from '../memory-tree.js';
import { fillPattern, pattern } from '../pattern.js';
import type { TreeUnderTest } from './tree-under-test.js';

export const passedSize = 3 * 2 ** 20 + 17;

/** Has a file of the host, which the kernel may read by itself. */
class Passed extends MemoryTree {
  readonly #descriptor: number;
  reads = 0;

  constructor() {
    super();
    const folder = mkdtempSync(join(tmpdir(), 'conformance-passed-'));
    const path = join(folder, 'file');
    writeFileSync(path, pattern(0, passedSize));
    this.#descriptor = openSync(path, 'r');
    rmSync(folder, { recursive: true });
    const read = (offset: number, target: Uint8Array): number => {
      this.reads++;
      fillPattern(target, offset);
      return target.length;
    };
    this.link(this.root, 'file', this.addFile({ read }, { size: passedSize, allocated: passedSize }));
  }

  override async open(inode: Inode, access: Access, signal: AbortSignal): Promise<Opened> {
    return { ...(await super.open(inode, access, signal)), passthrough: this.#descriptor };
  }

  override async close(): Promise<void> {
    await super.close();
    closeSync(this.#descriptor);
  }
}

/** A file whose bytes are those of a file of the host. */
export function passedTree(): TreeUnderTest {
  const tree = new Passed();
  return { tree, commands: { seen: () => ({ reads: tree.reads, opened: tree.opened }) } };
}
