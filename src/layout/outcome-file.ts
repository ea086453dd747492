import { StillError } from '../errors.js';
import type { Snapshot } from '../guests/guest.js';
import { type Name, nameToText } from '../name.js';
import { fileAttributes, type LayoutContext } from './context.js';
import type { FileNode, NodeAttributes, OpenFile } from './node.js';
import type { StillNode } from './still-node.js';

/** `outcome`: whether all of a snapshot is safely backed up. Written whole, at its start: `success` or `failure`. */
export class OutcomeFile implements FileNode {
  readonly type = 'file';
  readonly writable = true;
  readonly #context: LayoutContext;
  readonly #snapshot: Snapshot;

  constructor(
    context: LayoutContext,
    readonly path: Name,
    readonly parent: StillNode,
    snapshot: Snapshot,
  ) {
    this.#context = context;
    this.#snapshot = snapshot;
  }

  async attributes(signal: AbortSignal): Promise<NodeAttributes> {
    await this.parent.still(signal); // it may have ended
    const size = this.#text.length;
    return fileAttributes(this.#context, {
      permissions: 0o600,
      size,
      allocated: size,
      modified: this.parent.time,
      freshSeconds: 0,
    });
  }

  async open(signal: AbortSignal): Promise<OpenFile> {
    await this.parent.still(signal);
    return {
      cache: 'direct',
      size: this.#text.length,
      read: async (offset, target) => {
        const text = this.#text;
        return offset >= text.length ? 0 : text.copy(target, 0, offset);
      },
      write: (offset, bytes) => this.#write(offset, bytes),
      release: () => undefined,
    };
  }

  async truncate(): Promise<void> {
    // `echo success > outcome` cuts the file before it writes. Nothing is unsaid by that.
  }

  async #write(offset: number, bytes: Uint8Array): Promise<void> {
    const said = outcomeSaid(offset, bytes);
    if (said) return this.#snapshot.say(said);
    throw new StillError(
      'EINVAL',
      `${nameToText(this.path)} takes success or failure, in one write at its start`,
    );
  }

  get #text(): Buffer {
    return Buffer.from(`${this.#snapshot.outcome}\n`, 'utf8');
  }
}

const writable = ['success', 'failure'] as const;

function outcomeSaid(offset: number, bytes: Uint8Array): 'success' | 'failure' | undefined {
  if (offset !== 0) return undefined;
  const text = Buffer.from(bytes).toString('latin1');
  return writable.find((outcome) => text === outcome || text === `${outcome}\n`);
}
