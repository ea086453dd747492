import type { Name } from '../../../src/name.js';
import type { Inode } from '../../../src/tree/attributes.js';
import type { Entry, Found } from '../../../src/tree/tree.js';
import { MemoryTree } from '../memory-tree.js';
import type { TreeUnderTest } from './tree-under-test.js';

export const forgettable = 10_000;

/** Keeps account of which inodes it told of and which were forgotten since. */
class Forgetting extends MemoryTree {
  /** Told by a look-up: the mount must forget them one day. */
  readonly told = new Set<Inode>();
  /** Told by a listing only: the mount may have taken note of them. */
  readonly listed = new Set<Inode>();
  /** Forgotten without having been told since. */
  forgottenTwice = 0;
  forgotten = 0;

  override async lookup(folder: Inode, name: Name, signal: AbortSignal): Promise<Found> {
    const found = await super.lookup(folder, name, signal);
    if (found.attributes) this.told.add(found.attributes.inode);
    return found;
  }

  override async list(folder: Inode, after: bigint, signal: AbortSignal): Promise<readonly Entry[]> {
    const entries = await super.list(folder, after, signal);
    for (const { inode } of entries) this.listed.add(inode);
    return entries;
  }

  forget(inode: Inode): void {
    const known = this.told.delete(inode);
    const maybe = this.listed.delete(inode);
    if (!known && !maybe) this.forgottenTwice++;
    this.forgotten++;
  }
}

/** A folder of 10 000 files, each with an inode of its own. */
export function forgettingTree(): TreeUnderTest {
  const tree = new Forgetting();
  const folder = tree.link(tree.root, 'folder', tree.addFolder());
  for (let index = 0; index < forgettable; index++) {
    tree.link(folder, `file-${index}`, tree.addFile(`content ${index}`));
  }
  return {
    tree,
    commands: {
      account: () => ({
        told: tree.told.size,
        forgotten: tree.forgotten,
        forgottenTwice: tree.forgottenTwice,
        opened: tree.opened,
      }),
    },
  };
}
