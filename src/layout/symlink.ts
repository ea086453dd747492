import type { Name } from '../name.js';
import type { Time } from '../time.js';
import type { LayoutContext } from './context.js';
import { shortly } from './context.js';
import type { FolderNode, NodeAttributes, SymlinkNode } from './node.js';

/** A symlink of the layout's own. Its path holds its target: one that points elsewhere is another node. */
export class Symlink implements SymlinkNode {
  readonly type = 'symlink';
  readonly #context: LayoutContext;
  readonly #modified: Time;

  constructor(
    context: LayoutContext,
    readonly path: Name,
    readonly parent: FolderNode,
    readonly target: Name,
    modified: Time,
  ) {
    this.#context = context;
    this.#modified = modified;
  }

  async attributes(): Promise<NodeAttributes> {
    return {
      type: 'symlink',
      permissions: 0o777,
      links: 1,
      ...this.#context.owner,
      size: this.target.length,
      allocated: 0,
      accessed: this.#modified,
      modified: this.#modified,
      changed: this.#modified,
      freshSeconds: shortly,
    };
  }
}
