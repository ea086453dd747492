import { StillError } from '../../errors.js';
import type { Name } from '../../name.js';
import type { FileType } from '../../tree/attributes.js';
import type { IndexParts } from './index-builder.js';
import { extraColumns, extraRow, type IndexColumns } from './index-columns.js';
import type { HeaderPlace } from './member.js';
import { hashOfName, placeOfName } from './name-table.js';
import { kindOfNode, unreadableBit } from './node-kind.js';

/** The root's node. */
export const rootNode = 0;

/** A name in a folder. */
export interface IndexEntry {
  readonly name: Name;
  readonly node: number;
  /** Its place among the folder's entries, from 1. */
  readonly place: number;
}

/** What files an archive holds and where, by node (see `IndexColumns`). */
export class TarIndex {
  readonly columns: IndexColumns;
  readonly #seed: number;
  readonly #text: Buffer;

  constructor({ columns, seed }: IndexParts) {
    this.columns = columns;
    this.#seed = seed;
    const { text } = columns;
    this.#text = Buffer.from(text.buffer, text.byteOffset, text.byteLength);
  }

  get nodes(): number {
    return this.columns.kind.length;
  }

  /** Bytes that its columns take up. */
  get memoryBytes(): number {
    return Object.values<{ byteLength: number }>({ ...this.columns }).reduce(
      (sum, { byteLength }) => sum + byteLength,
      0,
    );
  }

  typeOf(node: number): FileType {
    return kindOfNode(this.#kind(node));
  }

  permissionsOf(node: number): number {
    return this.#kind(node) & 0o7777;
  }

  isUnreadable(node: number): boolean {
    return (this.#kind(node) & unreadableBit) !== 0;
  }

  /** ENOTDIR: the node is none that has entries. */
  folderOf(node: number): number {
    if (this.typeOf(node) !== 'directory')
      throw new StillError('ENOTDIR', `node ${node} of the archive is no folder`);
    return this.columns.place[node] ?? 0;
  }

  /** The node of the folder that a folder lies in. */
  parentOf(node: number): number {
    const parent = this.columns.folderParent[this.folderOf(node)] ?? 0;
    return this.columns.folderNode[parent] ?? rootNode;
  }

  /** The node that a name in a folder stands for; undefined: there is no such name. */
  find(folderNode: number, name: Name): number | undefined {
    const folder = this.folderOf(folderNode);
    if (this.columns.table.length === 0) return undefined;
    const bytes = Buffer.from(name, 'latin1');
    const hash = hashOfName(this.#seed, folder, bytes, 0, bytes.length);
    const found = this.columns.table[placeOfName(this.columns, hash, folder, bytes, 0, bytes.length)] ?? 0;
    return found === 0 ? undefined : this.columns.entryNode[found - 1];
  }

  /** Entries of a folder after a place (0: from the first). */
  entries(folderNode: number, after: number, most: number): IndexEntry[] {
    const folder = this.folderOf(folderNode);
    const { folderFirst, folderCount, order, entryName, entryNameBytes, entryNode } = this.columns;
    const first = folderFirst[folder] ?? 0;
    const end = Math.min(folderCount[folder] ?? 0, after + most);
    const entries: IndexEntry[] = [];
    for (let place = after; place < end; place++) {
      const entry = order[first + place] ?? 0;
      const from = entryName[entry] ?? 0;
      const name = this.#text.toString('latin1', from, from + (entryNameBytes[entry] ?? 0)) as Name;
      entries.push({ name, node: entryNode[entry] ?? 0, place: place + 1 });
    }
    return entries;
  }

  targetOf(node: number): Uint8Array {
    const from = this.columns.place[node] ?? 0;
    return this.#text.subarray(from, from + (this.columns.size[node] ?? 0));
  }

  /** The extended headers that hold a node's attributes: the one for all first, its own last. */
  attributeHeadersOf(node: number): HeaderPlace[] {
    const row = this.#extraOf(node);
    if (!row) return [];
    const { ownHeader, ownHeaderBytes, globalHeader, globalHeaderBytes } = extraColumns;
    return [
      { at: row[globalHeader] ?? 0, size: row[globalHeaderBytes] ?? 0 },
      { at: row[ownHeader] ?? 0, size: row[ownHeaderBytes] ?? 0 },
    ].filter(({ size }) => size > 0);
  }

  /** Of a sparse file: pairs of offset in the file and offset in its archived bytes, the last one its end. */
  piecesOf(node: number): Float64Array | undefined {
    const row = this.#extraOf(node);
    const count = row?.[extraColumns.pieces] ?? 0;
    if (!row || count === 0) return undefined;
    const first = (row[extraColumns.firstPiece] ?? 0) * 2;
    return this.columns.pieces.subarray(first, first + count * 2);
  }

  #kind(node: number): number {
    const kind = this.columns.kind[node];
    if (kind === undefined) throw new StillError('ESTALE', `the archive has no node ${node}`);
    return kind;
  }

  #extraOf(node: number): Float64Array | undefined {
    const extra = this.columns.extra[node] ?? 0;
    return extra === 0 ? undefined : this.columns.extras.subarray((extra - 1) * extraRow, extra * extraRow);
  }
}
