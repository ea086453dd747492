import { type Problems, shownPath } from '../../problems.js';
import type { Time } from '../../time.js';
import type { FileType } from '../../tree/attributes.js';
import { bytesOfMap, mostPieces } from './gnu-sparse.js';
import {
  cutTo,
  extraRow,
  grow,
  type IndexColumns,
  larger,
  nodeColumns,
  setColumn,
  timeColumns,
  trim,
  withRoom,
} from './index-columns.js';
import type { Member } from './member.js';
import { typeNumber, unreadableBit } from './node-kind.js';

/** The nodes of an index that is being made: what is known of files beside their names. */
export class IndexNodes {
  readonly #columns: IndexColumns;
  readonly #problems: Problems;
  #nodes = 0;
  #textBytes = 0;
  #extras = 0;
  #pieces = 0;
  #otherTimes = false;

  constructor(columns: IndexColumns, problems: Problems) {
    this.#columns = columns;
    this.#problems = problems;
  }

  /** About the bytes that they take, with the texts of the index. */
  get bytes(): number {
    const times = this.#otherTimes ? 24 : 0;
    return this.#nodes * (46 + times) + this.#textBytes + (this.#extras * extraRow + this.#pieces * 2) * 8;
  }

  get textBytes(): number {
    return this.#textBytes;
  }

  /** A new node; its links, and what else a member tells of it, come later. */
  add(type: FileType, permissions: number, modified: Time): number {
    const columns = this.#columns;
    if (this.#nodes === columns.kind.length) {
      grow(columns, nodeColumns, this.#nodes);
      if (this.#otherTimes) for (const name of timeColumns) setColumn(columns, name, columns.kind.length);
    }
    const node = this.#nodes++;
    columns.kind[node] = (typeNumber(type) << 12) | permissions;
    this.#setTimes(node, modified, modified, modified);
    return node;
  }

  /** A directory that is there already gets what the member tells. */
  describe(node: number, member: Member): void {
    this.#columns.kind[node] = (typeNumber('directory') << 12) | member.permissions;
    this.#columns.extra[node] = 0;
    this.fill(node, member);
  }

  /** Gives a node what a member tells of it. */
  fill(node: number, member: Member): void {
    const columns = this.#columns;
    columns.uid[node] = member.uid;
    columns.gid[node] = member.gid;
    this.#setTimes(node, member.modified, member.accessed, member.changed);
    let { unreadable } = member;
    let firstPiece = 0;
    let pieces = 0;
    if (member.type === 'file' || member.type === 'link') {
      columns.size[node] = member.size;
      columns.place[node] = member.at;
      if (member.segments && !unreadable) {
        firstPiece = this.#pieces;
        pieces = this.#addPieces(member);
        unreadable = pieces === 0;
      }
    } else if (member.type === 'symlink') {
      columns.size[node] = member.target.length;
      columns.place[node] = this.addText(member.target, 0, member.target.length);
    } else if (member.type === 'block' || member.type === 'character') {
      columns.place[node] = member.device.major * 2 ** 32 + member.device.minor;
    }
    if (unreadable) columns.kind[node] = (columns.kind[node] ?? 0) | unreadableBit;
    const { ownHeader, globalHeader } = member;
    if (!ownHeader && !globalHeader && pieces === 0) return;
    if ((this.#extras + 1) * extraRow > columns.extras.length)
      columns.extras = withRoom(columns.extras, larger(this.#extras) * extraRow);
    columns.extras.set(
      [
        ownHeader?.at ?? 0,
        ownHeader?.size ?? 0,
        globalHeader?.at ?? 0,
        globalHeader?.size ?? 0,
        firstPiece,
        pieces,
      ],
      this.#extras * extraRow,
    );
    columns.extra[node] = ++this.#extras;
  }

  /** Keeps a name or a target, and tells where in `text`. */
  addText(bytes: Uint8Array, from: number, to: number): number {
    const columns = this.#columns;
    const at = this.#textBytes;
    if (at + to - from > columns.text.length) columns.text = withRoom(columns.text, larger(at + to - from));
    const { text } = columns;
    for (let each = from; each < to; each++) text[at + each - from] = bytes[each] ?? 0;
    this.#textBytes = at + to - from;
    return at;
  }

  /** Lets go of room that was not needed. */
  finish(): void {
    const columns = this.#columns;
    trim(columns, nodeColumns, this.#nodes);
    if (this.#otherTimes) trim(columns, timeColumns, this.#nodes);
    columns.text = cutTo(columns.text, this.#textBytes);
    columns.extras = cutTo(columns.extras, this.#extras * extraRow);
    columns.pieces = cutTo(columns.pieces, this.#pieces * 2);
  }

  /** How many pairs were added for a sparse file; 0 where its map can't be right, or is too much. */
  #addPieces({ path, segments = [], size }: Member): number {
    const bytes = bytesOfMap(segments, size);
    const tooMany = this.#pieces + segments.length / 2 + 1 > mostPieces;
    if (Number.isNaN(bytes) || tooMany) {
      const why = tooMany
        ? 'there are too many pieces of sparse files'
        : "its map of data and holes can't be right";
      this.#problems.add(`${shownPath(path)} can't be read: ${why}.`);
      return 0;
    }
    const columns = this.#columns;
    const before = this.#pieces;
    const most = before + segments.length / 2 + 1;
    if (most * 2 > columns.pieces.length) columns.pieces = withRoom(columns.pieces, larger(most) * 2);
    let archived = 0;
    let end = -1;
    for (let at = 0; at < segments.length; at += 2) {
      const length = segments[at + 1] ?? 0;
      if (length === 0) continue;
      const touches = segments[at] === end;
      end = (segments[at] ?? 0) + length;
      if (touches) {
        // Its bytes follow those before it in the archive too: they are one piece.
        archived += length;
        continue;
      }
      columns.pieces[this.#pieces * 2] = segments[at] ?? 0;
      columns.pieces[this.#pieces * 2 + 1] = archived;
      archived += length;
      this.#pieces++;
    }
    columns.pieces[this.#pieces * 2] = size;
    columns.pieces[this.#pieces * 2 + 1] = archived;
    this.#pieces++;
    return this.#pieces - before;
  }

  #setTimes(node: number, modified: Time, accessed: Time, changed: Time): void {
    const columns = this.#columns;
    columns.modified[node] = modified.seconds;
    columns.modifiedNanoseconds[node] = modified.nanoseconds;
    if (!this.#otherTimes) {
      if (accessed === modified && changed === modified) return;
      this.#otherTimes = true;
      for (const name of timeColumns) setColumn(columns, name, columns.kind.length);
      columns.accessed.set(columns.modified);
      columns.changed.set(columns.modified);
      columns.accessedNanoseconds.set(columns.modifiedNanoseconds);
      columns.changedNanoseconds.set(columns.modifiedNanoseconds);
    }
    columns.accessed[node] = accessed.seconds;
    columns.accessedNanoseconds[node] = accessed.nanoseconds;
    columns.changed[node] = changed.seconds;
    columns.changedNanoseconds[node] = changed.nanoseconds;
  }
}
