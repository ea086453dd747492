import type { Name } from '../name.js';
import { folderAttributes, type LayoutContext } from './context.js';
import type { Child, FolderNode, Node, NodeAttributes, Row } from './node.js';
import { rowsInOrder } from './row-order.js';

/** A folder whose entries are the same as long as the mount: the root, `backups/`. */
export class FixedFolder implements FolderNode {
  readonly type = 'directory';
  readonly #context: LayoutContext;
  readonly #permissions: number;
  readonly #children: ReadonlyMap<Name, Node>;

  /** `children` makes the entries; it is given their parent. */
  constructor(
    context: LayoutContext,
    readonly path: Name,
    readonly parent: FolderNode | undefined,
    permissions: number,
    children: (parent: FolderNode) => ReadonlyMap<Name, Node>,
  ) {
    this.#context = context;
    this.#permissions = permissions;
    this.#children = children(this);
  }

  async attributes(): Promise<NodeAttributes> {
    const folders = [...this.#children.values()].filter((child) => child.type === 'directory').length;
    const modified = this.#context.began;
    const permissions = this.#permissions;
    return folderAttributes(this.#context, { permissions, folders, modified, freshSeconds: Infinity });
  }

  async child(name: Name): Promise<Child> {
    return { node: this.#children.get(name), freshSeconds: Infinity };
  }

  async rows(): Promise<readonly Row[]> {
    return rowsInOrder([...this.#children].map(([name, { type, path }]) => ({ name, type, path })));
  }
}
