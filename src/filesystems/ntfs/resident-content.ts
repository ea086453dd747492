import type { FileContent, FilePiece } from '../file-system.js';

/** Bytes that lie in the file's own record. */
export class ResidentContent implements FileContent {
  readonly #bytes: Buffer;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    target.set(this.#bytes.subarray(offset, offset + target.length));
  }

  async pieces(offset: number, length: number): Promise<readonly FilePiece[]> {
    return [{ offset, length, hole: false }];
  }
}
