import { isEntryName, type Name } from '../name.js';
import type { Time } from '../time.js';
import { type LayoutContext, shortly } from './context.js';
import { ChangesFolder, DisksFolder } from './disk-folders.js';
import type { Child, FileNode, FolderNode, Node, NodeAttributes, Row } from './node.js';
import { problemName } from './own-names.js';
import { problemFile } from './problem-file.js';
import { RootfsFolder } from './rootfs-folder.js';
import { rowsInOrder } from './row-order.js';
import type { Still } from './still.js';
import type { StillNode } from './still-node.js';

const disksName = 'disks' as Name;
const changesName = 'changes' as Name;
const rootfsName = 'rootfs' as Name;

/** What the folders of backups and of snapshots have in common. */
export abstract class StillFolder implements StillNode {
  readonly type = 'directory';
  abstract readonly time: Time;
  abstract readonly live: boolean;

  constructor(
    protected readonly context: LayoutContext,
    readonly path: Name,
    readonly parent: FolderNode,
  ) {}

  abstract attributes(signal: AbortSignal): Promise<NodeAttributes>;
  abstract still(signal: AbortSignal): Promise<Still>;

  async child(name: Name, signal: AbortSignal): Promise<Child> {
    const node = this.#node(name, await this.still(signal));
    const stays = node !== undefined && name !== problemName;
    return { node, freshSeconds: stays ? Infinity : shortly };
  }

  async rows(signal: AbortSignal): Promise<readonly Row[]> {
    const still = await this.still(signal);
    const names = [...still.files.keys(), ...this.ownNames, disksName, changesName, rootfsName, problemName];
    const nodes = names.map((name) => ({ name, node: this.#node(name, still) }));
    return rowsInOrder(
      nodes.flatMap(({ name, node }) => (node ? [{ name, type: node.type, path: node.path }] : [])),
    );
  }

  /** Names that only this kind of folder has, and their nodes. */
  protected readonly ownNames: readonly Name[] = [];
  protected ownNode(_name: Name, _path: Name): FileNode | undefined {
    return undefined;
  }

  /** A file that the still has by this name. */
  protected abstract fileNode(name: Name, path: Name): FileNode;

  #node(name: Name, still: Still): Node | undefined {
    const path = `${this.path}/${name}` as Name;
    if (!isEntryName(name)) return undefined;
    if (name === disksName)
      return still.disks.size > 0 ? new DisksFolder(this.context, path, this) : undefined;
    if (name === changesName)
      return still.disks.size > 0 ? new ChangesFolder(this.context, path, this) : undefined;
    if (name === rootfsName) return still.rootfs && new RootfsFolder(this.context, path, this);
    if (name === problemName) return still.hasProblems ? problemFile(this.context, path, this) : undefined;
    return this.ownNode(name, path) ?? (still.files.has(name) ? this.fileNode(name, path) : undefined);
  }
}
