import { isEntryName, type Name } from '../name.js';
import type { Time } from '../time.js';
import type { OpenTree } from '../tree/tree.js';
import { type LayoutContext, shortly } from './context.js';
import { DiskContents } from './disk-contents.js';
import { ChangesFolder, DisksFolder } from './disk-folders.js';
import type { Child, FileNode, FolderNode, Node, NodeAttributes, Row } from './node.js';
import { problemName, volumesName } from './own-names.js';
import { problemFile } from './problem-file.js';
import { rowsInOrder } from './row-order.js';
import type { Still } from './still.js';
import type { StillNode } from './still-node.js';
import { madeText, TextFile } from './text-file.js';
import { TreeFolder } from './tree-folder.js';

const disksName = 'disks' as Name;
const changesName = 'changes' as Name;
const filesName = 'files' as Name;
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
    if (still.isInspectable) this.context.inspections.prepare();
    const names = [
      ...still.files.keys(),
      ...this.ownNames,
      disksName,
      changesName,
      filesName,
      rootfsName,
      volumesName,
      problemName,
    ];
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
    if (name === rootfsName || name === filesName) return this.#treeFolder(name, still);
    if (name === volumesName) {
      if (!still.isInspectable) return undefined;
      const source = madeText((signal) => this.#contents(still).describe(signal));
      return new TextFile(this.context, path, this, source);
    }
    if (name === problemName) return still.hasProblems ? problemFile(this.context, path, this) : undefined;
    return this.ownNode(name, path) ?? (still.files.has(name) ? this.fileNode(name, path) : undefined);
  }

  #treeFolder(name: Name, still: Still): TreeFolder | undefined {
    if (still.isAbsent(name)) return undefined;
    const opens = ({ rootfs, isInspectable }: Still): OpenTree | undefined => {
      if (name === rootfsName && rootfs) return rootfs;
      if (!isInspectable) return undefined;
      const contents = this.#contents(still);
      return name === filesName ? contents.files : contents.rootfs;
    };
    return opens(still) && new TreeFolder(this.context, this, name, opens);
  }

  #contents(still: Still): DiskContents {
    return new DiskContents(this.context, still, this.time);
  }
}
