import type { Name } from '../name.js';
import { ChangedFile } from './changed-file.js';
import { folderAttributes, type LayoutContext, shortly } from './context.js';
import { DirtyMapFile } from './dirty-map-file.js';
import type { Child, FolderNode, Node, NodeAttributes, Row } from './node.js';
import { RawFile } from './raw-file.js';
import { rowsInOrder } from './row-order.js';
import type { StillNode } from './still-node.js';

/** A view of a disk: the name of its file is the disk's and this suffix. */
interface View {
  readonly suffix: string;
  node(context: LayoutContext, path: Name, folder: FolderNode, owner: StillNode, disk: Name): Node;
}

/** A folder with some views of each disk of a backup or a snapshot. Neither a listing nor a look-up's name opens a disk. */
class DiskViews implements FolderNode {
  readonly type = 'directory';
  readonly #context: LayoutContext;
  readonly #views: readonly View[];

  constructor(
    context: LayoutContext,
    readonly path: Name,
    readonly parent: StillNode,
    views: readonly View[],
  ) {
    this.#context = context;
    this.#views = views;
  }

  async attributes(): Promise<NodeAttributes> {
    const modified = this.parent.time;
    return folderAttributes(this.#context, { folders: 0, modified, freshSeconds: Infinity });
  }

  async child(name: Name, signal: AbortSignal): Promise<Child> {
    const { disks } = await this.parent.still(signal);
    for (const { suffix, node } of this.#views) {
      const disk = name.slice(0, -suffix.length) as Name;
      if (!name.endsWith(suffix) || !disks.has(disk)) continue;
      const path = `${this.path}/${name}` as Name;
      return { node: node(this.#context, path, this, this.parent, disk), freshSeconds: Infinity };
    }
    return { node: undefined, freshSeconds: shortly };
  }

  async rows(signal: AbortSignal): Promise<readonly Row[]> {
    const { disks } = await this.parent.still(signal);
    const names = [...disks.keys()].flatMap((disk) =>
      this.#views.map(({ suffix }) => `${disk}${suffix}` as Name),
    );
    return rowsInOrder(
      names.map((name) => ({ name, type: 'file' as const, path: `${this.path}/${name}` as Name })),
    );
  }
}

const raw: View = {
  suffix: '.raw',
  node: (context, path, folder, owner, disk) => new RawFile(context, path, folder, owner, disk),
};
const dirtyJson: View = {
  suffix: '.dirty.json',
  node: (context, path, folder, owner, disk) => new DirtyMapFile(context, path, folder, owner, disk, 'json'),
};
const dirtyMap: View = {
  suffix: '.dirty.map',
  node: (context, path, folder, owner, disk) =>
    new DirtyMapFile(context, path, folder, owner, disk, 'mapfile'),
};
const changed: View = {
  suffix: '.changed',
  node: (context, path, folder, owner, disk) => new ChangedFile(context, path, folder, owner, disk),
};

/** `disks/`: each disk whole, and the maps of what is dirty. */
export class DisksFolder extends DiskViews {
  constructor(context: LayoutContext, path: Name, owner: StillNode) {
    super(context, path, owner, [raw, dirtyJson, dirtyMap]);
  }
}

/** `changes/`: of each disk what is dirty, alone. Not in `disks/`, so that a copy of that has every disk once. */
export class ChangesFolder extends DiskViews {
  constructor(context: LayoutContext, path: Name, owner: StillNode) {
    super(context, path, owner, [changed]);
  }
}
