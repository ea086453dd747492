import type { Inode } from '../../tree/attributes.js';
import type { FileEntry } from './entry-set.js';

const mostFiles = 1024;

/** What the last listings told of files: who lists a folder asks for each file in it at once. */
export class ListedFiles {
  readonly #files = new Map<Inode, FileEntry>();

  add(inode: Inode, file: FileEntry): void {
    if (this.#files.size >= mostFiles) this.#files.clear();
    this.#files.set(inode, file);
  }

  get(inode: Inode): FileEntry | undefined {
    return this.#files.get(inode);
  }
}
