import { LRUCache } from 'lru-cache';
import { type Fields, items, sixtyFourBits, unexpected, whole } from '../../../port/fields.js';
import type { Inode } from '../../attributes.js';
import { mostFilesAhead } from './reading-order.js';

/** Whole files that go through a port before they are asked for: their bytes one after the other. */
export interface PackedFiles {
  readonly inodes: readonly Inode[];
  /** Where each one's bytes end in the memory. */
  readonly ends: readonly number[];
  readonly memory: ArrayBuffer;
}

/** Bytes for all trees together; what was sent first and not used goes first. */
const mostBytes = 16 * 1024 * 1024;
/** About what a piece costs beside its bytes. */
const overheadBytes = 1024;

export function parseFiles(from: Fields): PackedFiles {
  const inodes = items(from.inodes, 'inodes').map((inode) => sixtyFourBits(inode, 'inode'));
  const ends = items(from.ends, 'ends').map((end) => whole(end, 'end'));
  const memory = from.memory instanceof ArrayBuffer ? from.memory : unexpected('memory');
  if (inodes.length > mostFilesAhead || ends.length !== inodes.length) unexpected('ends');
  let before = 0;
  for (const end of ends) {
    if (end < before || end > memory.byteLength) unexpected('end');
    before = end;
  }
  return { inodes, ends, memory };
}

const kept = new LRUCache<Piece, true>({
  maxSize: mostBytes,
  sizeCalculation: (_, piece) => piece.bytes + overheadBytes,
  dispose: (_, piece) => piece.drop(),
});

/** Files that have come together: they stay until the last of them is used, or all go. */
class Piece {
  readonly bytes: number;
  readonly #files: Map<Inode, Held>;
  readonly #inodes: readonly Inode[];
  #left: number;

  constructor(files: Map<Inode, Held>, { inodes, memory }: PackedFiles) {
    this.#files = files;
    this.#inodes = inodes;
    this.#left = inodes.length;
    this.bytes = memory.byteLength;
  }

  used(): void {
    if (--this.#left === 0) kept.delete(this);
  }

  drop(): void {
    for (const inode of this.#inodes) {
      if (this.#files.get(inode)?.piece === this) this.#files.delete(inode);
    }
  }
}

interface Held {
  readonly piece: Piece;
  readonly content: Uint8Array;
}

/** The files of one tree that came before they were asked for. */
export class FilesAhead {
  readonly #files = new Map<Inode, Held>();

  arrived(packed: PackedFiles): void {
    const piece = new Piece(this.#files, packed);
    let begin = 0;
    for (const [at, inode] of packed.inodes.entries()) {
      const end = packed.ends[at] ?? begin;
      this.drop(inode);
      this.#files.set(inode, { piece, content: new Uint8Array(packed.memory, begin, end - begin) });
      begin = end;
    }
    kept.set(piece, true);
  }

  /** One that has memory of its own. */
  came(inode: Inode, content: Uint8Array<ArrayBuffer>): void {
    this.arrived({ inodes: [inode], ends: [content.length], memory: content.buffer });
  }

  /** What a file holds, in memory of its own, if it has come; it is here no more then. */
  take(inode: Inode): Uint8Array | undefined {
    const held = this.#files.get(inode);
    if (!held) return undefined;
    const content = new Uint8Array(held.content);
    this.drop(inode);
    return content;
  }

  drop(inode: Inode): void {
    const held = this.#files.get(inode);
    if (!held) return;
    this.#files.delete(inode);
    held.piece.used();
  }

  clear(): void {
    for (const { piece } of [...this.#files.values()]) kept.delete(piece);
    this.#files.clear();
  }
}
