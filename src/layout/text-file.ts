import type { Name } from '../name.js';
import type { Time } from '../time.js';
import { fileAttributes, type LayoutContext, shortly } from './context.js';
import { FreshValue } from './fresh-value.js';
import type { FileNode, FolderNode, NodeAttributes, OpenFile } from './node.js';

/** A whole small text and when it came to be so. */
export interface Text {
  readonly bytes: Buffer;
  readonly modified: Time;
}

/** Where a text comes from. */
export interface TextSource {
  get(signal: AbortSignal): Promise<Text>;
  expire(): void;
}

/**
 * A file whose text may be another one at any time. Whoever has it open reads one text from its start to its end: the one
 * whose size was told before, where that was lately.
 */
export class TextFile implements FileNode {
  readonly type = 'file';
  readonly #context: LayoutContext;
  readonly #source: TextSource;
  /** What was opened last, for a short time and as long as it is open: its reader is about to ask for its size. */
  #opened: { readonly text: Text; readonly until: number } | undefined;

  constructor(
    context: LayoutContext,
    readonly path: Name,
    readonly parent: FolderNode,
    source: TextSource,
  ) {
    this.#context = context;
    this.#source = source;
  }

  async attributes(signal: AbortSignal): Promise<NodeAttributes> {
    const opened = this.#opened && this.#opened.until > performance.now() ? this.#opened.text : undefined;
    const { bytes, modified } = opened ?? (await this.#source.get(signal));
    const size = bytes.length;
    // Nobody may keep a size that the next open does not have: readers believe it, and would read half a text.
    return fileAttributes(this.#context, { size, allocated: size, modified, freshSeconds: 0 });
  }

  async open(signal: AbortSignal): Promise<OpenFile> {
    const text = await this.#source.get(signal);
    const { bytes } = text;
    const opened = { text, until: performance.now() + shortly * 1000 };
    this.#opened = opened;
    return {
      cache: 'direct',
      size: bytes.length,
      read: async (offset, target) => (offset >= bytes.length ? 0 : bytes.copy(target, 0, offset)),
      release: () => {
        if (this.#opened === opened) this.#opened = undefined;
      },
    };
  }

  /** The text is another one from now on. */
  expire(): void {
    this.#source.expire();
  }
}

/** A text that is made when it is asked for. */
export function madeText(make: (signal: AbortSignal) => Promise<Text>): TextSource {
  return new FreshValue(shortly, make);
}

/** Values as JSON for people and programs. */
export function jsonText(values: object, modified: Time): Text {
  return { bytes: Buffer.from(`${JSON.stringify(values, undefined, 2)}\n`, 'utf8'), modified };
}
