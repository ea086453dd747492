import { StillError } from '../errors.js';
import { type Name, nameToText } from '../name.js';
import type { BackupNode } from './backup-node.js';
import { fileAttributes, type LayoutContext, shortly } from './context.js';
import type { FileNode, NodeAttributes, OpenFile } from './node.js';

export const problemName = 'PROBLEM.txt' as Name;

/** `PROBLEM.txt`: what of a backup can't be shown, and why. Only there while something can't. */
export class ProblemFile implements FileNode {
  readonly type = 'file';
  readonly #context: LayoutContext;

  constructor(
    context: LayoutContext,
    readonly path: Name,
    readonly parent: BackupNode,
  ) {
    this.#context = context;
  }

  async attributes(signal: AbortSignal): Promise<NodeAttributes> {
    const size = (await this.#text(signal)).length;
    const modified = this.parent.reference.time;
    return fileAttributes(this.#context, { size, allocated: size, modified, freshSeconds: shortly });
  }

  async open(signal: AbortSignal): Promise<OpenFile> {
    const text = await this.#text(signal);
    return {
      cache: 'direct', // the text may be another one at the next open
      size: text.length,
      read: async (offset, target) => (offset >= text.length ? 0 : text.copy(target, 0, offset)),
      release: () => undefined,
    };
  }

  async #text(signal: AbortSignal): Promise<Buffer> {
    const opened = await this.parent.opened(signal);
    if (opened.hasProblems) return Buffer.from(opened.problemText, 'utf8');
    throw new StillError('ESTALE', `${nameToText(this.parent.path)} has no problems any more`);
  }
}
