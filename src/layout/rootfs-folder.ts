import { isAbort, messageOf, StillError } from '../errors.js';
import { type Name, nameToText } from '../name.js';
import type { Graft } from '../tree/tree.js';
import type { BackupNode } from './backup-node.js';
import { folderAttributes, type LayoutContext } from './context.js';
import type { Child, FolderNode, NodeAttributes, Row } from './node.js';

/** `rootfs/`: the container's own tree stands upon it. */
export class RootfsFolder implements FolderNode {
  readonly type = 'directory';
  readonly #context: LayoutContext;

  constructor(
    context: LayoutContext,
    readonly path: Name,
    readonly parent: BackupNode,
  ) {
    this.#context = context;
  }

  async attributes(): Promise<NodeAttributes> {
    const modified = this.parent.reference.time;
    return { ...folderAttributes(this.#context, { modified, freshSeconds: Infinity }), graft: true };
  }

  async child(): Promise<Child> {
    return { node: undefined, freshSeconds: Infinity };
  }

  async rows(): Promise<readonly Row[]> {
    return [];
  }

  async graft(signal: AbortSignal): Promise<Graft> {
    const opened = await this.parent.opened(signal);
    const { rootfs } = opened.backup;
    if (!rootfs) throw new StillError('ESTALE', `rootfs/ has left ${nameToText(this.parent.path)}`);
    try {
      const { value, release } = await this.#context.trees.borrow(`${opened.key}\0rootfs`, rootfs, signal);
      if (opened.note('rootfs', undefined)) this.#context.problemsChanged(this.parent.path);
      return { tree: value, release };
    } catch (error) {
      if (signal.aborted || isAbort(error)) throw error;
      const sentence = `rootfs/ can't be shown: ${messageOf(error)}`;
      if (opened.note('rootfs', sentence)) {
        this.#context.log.warn({ backup: nameToText(this.parent.path) }, sentence);
        this.#context.problemsChanged(this.parent.path);
      }
      throw new StillError('EIO', sentence, { cause: error });
    }
  }
}
