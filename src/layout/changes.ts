import type { Name } from '../name.js';
import type { Change } from '../tree/tree.js';
import type { FileNode } from './node.js';
import type { NodeTable } from './node-table.js';
import { descriptionName, outcomeName, problemName } from './own-names.js';

/** Tells a mount what has changed, as far as somebody refers to it. Everything is called by its node's path. */
export class Changes {
  readonly #table: () => NodeTable;
  readonly #listeners = new Set<(change: Change) => void>();

  constructor(table: () => NodeTable) {
    this.#table = table;
  }

  watch(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#listeners.clear();
  }

  /** A name in a folder came, went, or means something else. */
  entry(folder: Name, name: Name): void {
    if (this.#table().at(folder)) this.#tell({ kind: 'entry', folder: this.#table().inode(folder), name });
  }

  /** What stat tells of a node, or what is in it, is other than before. */
  node(path: Name): void {
    if (this.#table().at(path)) this.#tell({ kind: 'inode', inode: this.#table().inode(path) });
  }

  /** A text is another one. */
  text(file: FileNode): void {
    file.expire?.();
    this.node(file.path);
  }

  /** Everything known of a backup or a snapshot may be other than before. */
  below(path: Name): void {
    for (const inode of this.#table().below(path)) {
      const node = this.#table().node(inode);
      if (node?.type === 'file') node.expire?.();
      this.#tell({ kind: 'inode', inode });
    }
  }

  /** A backup or a snapshot has other problems than before. */
  problems(path: Name): void {
    this.entry(path, problemName);
    this.#textAt(`${path}/${problemName}` as Name);
  }

  /** A snapshot says something else of itself. */
  texts(path: Name): void {
    for (const name of [descriptionName, outcomeName]) this.#textAt(`${path}/${name}` as Name);
  }

  #textAt(path: Name): void {
    const node = this.#table().at(path);
    if (node?.type === 'file') node.expire?.();
    this.node(path);
  }

  #tell(change: Change): void {
    for (const listener of this.#listeners) listener(change);
  }
}
