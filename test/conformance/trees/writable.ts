import { StillError } from '../../../src/errors.js';
import type { Name } from '../../../src/name.js';
import type { Attributes, Inode } from '../../../src/tree/attributes.js';
import type { Found } from '../../../src/tree/tree.js';
import { MemoryTree } from '../memory-tree.js';
import type { Plain, TreeUnderTest } from './tree-under-test.js';

export const discardableSize = 2 ** 20;

/** Takes folders in `snapshots`, bytes in `outcome`, and ranges of `disk.raw` back; says what it was told. */
class Writable extends MemoryTree {
  readonly calls: Plain[] = [];
  readonly outcome = this.link(this.root, 'outcome', this.addFile('pending', { freshSeconds: 0 }, 'direct'));
  readonly disk = this.link(
    this.root,
    'disk.raw',
    this.addFile(
      { read: (_offset, target) => target.fill(1).length },
      { size: discardableSize, allocated: discardableSize, permissions: 0o600 },
      'direct',
    ),
  );
  readonly snapshots = this.link(this.root, 'snapshots', this.addFolder({ freshSeconds: 0 }));

  protected override accepts(inode: Inode): boolean {
    return inode === this.outcome || inode === this.disk;
  }

  #fileOf(handle: number): Inode {
    return this.opening(handle).attributes.inode;
  }

  async write(handle: number, offset: number, bytes: Uint8Array): Promise<void> {
    if (this.#fileOf(handle) !== this.outcome) throw new StillError('EROFS', 'the disk takes no bytes');
    this.calls.push({ write: Buffer.from(bytes).toString('latin1'), offset });
  }

  async truncate(inode: Inode, size: number): Promise<void> {
    if (inode !== this.outcome) throw new StillError('EROFS', `inode ${inode} keeps its size`);
    this.calls.push({ truncate: size });
  }

  async discard(handle: number, offset: number, length: number): Promise<void> {
    if (this.#fileOf(handle) !== this.disk) throw new StillError('EOPNOTSUPP', 'nothing to give back here');
    this.calls.push({ discard: offset, length });
  }

  async sync(handle: number): Promise<void> {
    this.calls.push({ sync: this.#fileOf(handle) === this.outcome ? 'outcome' : 'disk.raw' });
  }

  async mkdir(folder: Inode, name: Name, permissions: number): Promise<Found & { attributes: Attributes }> {
    if (folder !== this.snapshots) throw new StillError('EROFS', 'no folder is made here');
    if (name === 'refused') throw new StillError('EINVAL', `${name} is no name for a snapshot`);
    this.calls.push({ mkdir: name, permissions });
    const inode = this.link(folder, name, this.addFolder({ permissions, freshSeconds: 0 }));
    // What is in it goes with it.
    this.link(inode, 'inside', this.addFile('inside'));
    return { attributes: this.node(inode).attributes, freshSeconds: 0 };
  }

  async rmdir(folder: Inode, name: Name): Promise<void> {
    if (folder !== this.snapshots) throw new StillError('EROFS', 'no folder is removed here');
    this.calls.push({ rmdir: name });
    this.unlink(folder, name);
  }
}

/** What a running guest's snapshots need: mkdir, rmdir, write, truncate, discard. */
export function writableTree(): TreeUnderTest {
  const tree = new Writable();
  tree.link(tree.root, 'folder', tree.addFolder());
  return { tree, commands: { calls: () => tree.calls.splice(0) } };
}
