import { hasCode, isAbort, messageOf, StillError } from '../errors.js';
import { type Name, nameToText } from '../name.js';
import type { Graft, OpenTree, Tree } from '../tree/tree.js';
import { folderAttributes, type LayoutContext } from './context.js';
import type { Child, FolderNode, NodeAttributes, Row } from './node.js';
import type { Still } from './still.js';
import type { StillNode } from './still-node.js';

/** `rootfs/` or `files/`: another tree stands upon it. */
export class TreeFolder implements FolderNode {
  readonly type = 'directory';
  readonly #context: LayoutContext;
  readonly #name: Name;
  readonly #opens: (still: Still) => OpenTree | undefined;

  /** `opens` tells how the tree is opened; undefined where there is none any more. */
  constructor(
    context: LayoutContext,
    readonly parent: StillNode,
    name: Name,
    opens: (still: Still) => OpenTree | undefined,
  ) {
    this.#context = context;
    this.#name = name;
    this.#opens = opens;
  }

  get path(): Name {
    return `${this.parent.path}/${this.#name}` as Name;
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

  /** ENOENT: there is none after all, which nobody could know before looking. */
  async graft(signal: AbortSignal): Promise<Graft> {
    const still = await this.parent.still(signal);
    const name = nameToText(this.#name);
    const openTree = this.#opens(still);
    if (!openTree) throw new StillError('ESTALE', `${name}/ has left ${nameToText(this.parent.path)}`);
    const open = (shared: AbortSignal): Promise<Tree> => {
      const sentences: string[] = [];
      return openTree(shared, (sentence) => {
        sentences.push(sentence);
        if (still.note(`in ${name}`, sentences.join('\n'))) this.#context.changes.problems(this.parent.path);
      });
    };
    try {
      const { value, release } = await this.#context.trees.borrow(`${still.key}\0${name}`, open, signal);
      if (still.note(name, undefined)) this.#context.changes.problems(this.parent.path);
      return { tree: value, release };
    } catch (error) {
      if (signal.aborted || isAbort(error)) throw error;
      const absent = hasCode(error, 'ENOENT');
      const sentence = absent
        ? `There is no ${name}/: ${messageOf(error)}.`
        : `${name}/ can't be shown: ${messageOf(error)}`;
      if (absent) still.setAbsent(this.#name);
      if (still.note(name, sentence)) {
        this.#context.log.warn({ path: nameToText(this.parent.path) }, sentence);
        this.#context.changes.problems(this.parent.path);
      }
      throw new StillError(absent ? 'ENOENT' : 'EIO', sentence, { cause: error });
    }
  }
}
