import { StillError } from '../errors.js';
import { type Name, nameToText } from '../name.js';
import type { StoredFile } from '../stores/store.js';
import { fileAttributes, type LayoutContext, shortly } from './context.js';
import type { FileNode, NodeAttributes, OpenFile } from './node.js';
import { openDisk } from './raw-file.js';
import type { Still } from './still.js';
import type { StillNode } from './still-node.js';

/** A file of a backup as it lies in the store: `guest.conf`, `backup.log`, an archive. */
export class StoredFileNode implements FileNode {
  readonly type = 'file';
  readonly #context: LayoutContext;
  readonly #name: Name;

  constructor(
    context: LayoutContext,
    readonly path: Name,
    readonly parent: StillNode<StoredFile>,
    name: Name,
  ) {
    this.#context = context;
    this.#name = name;
  }

  async attributes(signal: AbortSignal): Promise<NodeAttributes> {
    const { size, modified } = (await this.#found(signal)).file;
    // A log may still grow where a backup is written in its place.
    return fileAttributes(this.#context, { size, allocated: size, modified, freshSeconds: shortly });
  }

  async open(signal: AbortSignal): Promise<OpenFile> {
    const { still, file } = await this.#found(signal);
    const key = `${still.key}\0${this.#name}`;
    return openDisk(
      await this.#context.files.borrow(key, (opening) => file.open(opening), signal),
      'refresh',
    );
  }

  async #found(signal: AbortSignal): Promise<{ still: Still; file: StoredFile }> {
    const still = await this.parent.still(signal);
    const file = still.files.get(this.#name);
    if (file) return { still, file };
    throw new StillError('ESTALE', `${nameToText(this.#name)} has left ${nameToText(this.parent.path)}`);
  }
}
