import { StillError } from '../../../src/errors.js';
import type { Inode } from '../../../src/tree/attributes.js';
import type { Graft, Tree } from '../../../src/tree/tree.js';
import { MemoryTree } from '../../conformance/memory-tree.js';

/** A tree that others can be grafted upon, and that counts what the forest tells it. */
export class GraftingTree extends MemoryTree {
  readonly #grafts = new Map<Inode, () => Promise<Tree>>();
  /** How often each folder's graft was opened. */
  readonly openings = new Map<Inode, number>();
  /** How often each folder's graft was released. */
  readonly releases = new Map<Inode, number>();
  readonly forgotten: Inode[] = [];
  /** Waits in front of every opening of a graft. */
  gate: (signal: AbortSignal) => Promise<void> = async () => undefined;

  /** A folder in the root that a tree stands upon. */
  plant(name: string, open: () => Promise<Tree>): Inode {
    const folder = this.link(this.root, name, this.addFolder({ graft: true }));
    this.#grafts.set(folder, open);
    return folder;
  }

  /** How many grafts are open at present. */
  get standing(): number {
    const sum = (counts: Map<Inode, number>): number =>
      [...counts.values()].reduce((all, one) => all + one, 0);
    return sum(this.openings) - sum(this.releases);
  }

  async graft(folder: Inode, signal: AbortSignal): Promise<Graft> {
    await this.gate(signal);
    const open = this.#grafts.get(folder);
    if (!open) throw new StillError('ESTALE', `nothing stands upon inode ${folder}`);
    const tree = await open();
    this.openings.set(folder, (this.openings.get(folder) ?? 0) + 1);
    return { tree, release: () => this.releases.set(folder, (this.releases.get(folder) ?? 0) + 1) };
  }

  forget(inode: Inode): void {
    this.forgotten.push(inode);
  }
}
