import { isAbort, messageOf, StillError } from '../errors.js';
import { type Name, nameToText } from '../name.js';
import type { Graft, Tree } from '../tree/tree.js';
import { folderAttributes, type LayoutContext } from './context.js';
import type { Child, FolderNode, NodeAttributes, Row } from './node.js';
import type { StillNode } from './still-node.js';

/** `rootfs/`: the container's own tree stands upon it. */
export class RootfsFolder implements FolderNode {
  readonly type = 'directory';
  readonly #context: LayoutContext;

  constructor(
    context: LayoutContext,
    readonly path: Name,
    readonly parent: StillNode,
  ) {
    this.#context = context;
  }

  async attributes(): Promise<NodeAttributes> {
    const modified = this.parent.time;
    return { ...folderAttributes(this.#context, { modified, freshSeconds: Infinity }), graft: true };
  }

  async child(): Promise<Child> {
    return { node: undefined, freshSeconds: Infinity };
  }

  async rows(): Promise<readonly Row[]> {
    return [];
  }

  async graft(signal: AbortSignal): Promise<Graft> {
    const still = await this.parent.still(signal);
    const { rootfs } = still;
    if (!rootfs) throw new StillError('ESTALE', `rootfs/ has left ${nameToText(this.parent.path)}`);
    const open = (shared: AbortSignal): Promise<Tree> => {
      const sentences: string[] = [];
      return rootfs(shared, (sentence) => {
        sentences.push(sentence);
        if (still.note('in rootfs', sentences.join('\n'))) this.#context.changes.problems(this.parent.path);
      });
    };
    try {
      const { value, release } = await this.#context.trees.borrow(`${still.key}\0rootfs`, open, signal);
      if (still.note('rootfs', undefined)) this.#context.changes.problems(this.parent.path);
      return { tree: value, release };
    } catch (error) {
      if (signal.aborted || isAbort(error)) throw error;
      const sentence = `rootfs/ can't be shown: ${messageOf(error)}`;
      if (still.note('rootfs', sentence)) {
        this.#context.log.warn({ path: nameToText(this.parent.path) }, sentence);
        this.#context.changes.problems(this.parent.path);
      }
      throw new StillError('EIO', sentence, { cause: error });
    }
  }
}
