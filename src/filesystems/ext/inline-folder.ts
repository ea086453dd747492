import type { EntryBlocks } from './entry-blocks.js';
import { damaged, type ExtInode } from './inode.js';

// linux fs/ext4/inline.c: i_block begins with the folder above, and holds the first entries; the others are in an attribute
const parentBytes = 4;

/** The entries of a folder that are in its inode, as two blocks of them. */
export class InlineFolder implements EntryBlocks {
  readonly count = 2;
  readonly bytes = 65536;
  readonly #inode: ExtInode;
  readonly #rest: (signal: AbortSignal) => Promise<Buffer>;

  /** `rest` reads what has no room in i_block. */
  constructor(inode: ExtInode, rest: (signal: AbortSignal) => Promise<Buffer>) {
    this.#inode = inode;
    this.#rest = rest;
  }

  get parent(): number {
    return this.#inode.blockField.readUInt32LE(0);
  }

  async entries(index: number, signal: AbortSignal): Promise<Buffer> {
    const { blockField } = this.#inode;
    return index === 0 ? blockField.subarray(parentBytes) : this.#rest(signal);
  }

  async index(): Promise<Buffer> {
    throw damaged(this.#inode.number, 'the folder is in its inode, and has no index');
  }

  async afterHole(index: number): Promise<number> {
    return index;
  }
}
