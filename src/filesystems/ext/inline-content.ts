import type { FileContent, FilePiece } from '../file-system.js';

/** The bytes of a file that are in its inode; those beyond are zeros. */
export class InlineContent implements FileContent {
  readonly #bytes: Buffer;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    const part = this.#bytes.subarray(offset, offset + target.length);
    target.set(part);
    target.fill(0, part.length);
  }

  async pieces(offset: number, length: number): Promise<readonly FilePiece[]> {
    const data = Math.min(Math.max(this.#bytes.length - offset, 0), length);
    return [
      { offset, length: data, hole: false },
      { offset: offset + data, length: length - data, hole: true },
    ].filter((piece) => piece.length > 0);
  }
}
