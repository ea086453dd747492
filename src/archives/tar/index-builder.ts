import { randomInt } from 'node:crypto';
import { type Problems, shownPath } from '../../problems.js';
import { epoch, type Time } from '../../time.js';
import { emptyColumns, entryColumns, folderColumns, grow, type IndexColumns, trim } from './index-columns.js';
import { IndexNodes } from './index-nodes.js';
import type { Member } from './member.js';
import { lastName, memberPath } from './member-path.js';
import { hashOfName, placeOfName } from './name-table.js';
import { kindOfNode } from './node-kind.js';

/** What a folder is shown with that only the paths of others tell of, as `mkdir -p` would make it. */
const impliedPermissions = 0o755;
/** The longest target that a symlink can have on Linux (PATH_MAX with its NUL). */
const longestTarget = 4095;

/** As many members as an archive's size alone lets one expect, at most. */
const mostExpected = 1 << 20;

/** A link to a name that was not there yet. */
interface PendingLink {
  readonly entry: number;
  readonly node: number;
  readonly path: Buffer;
  readonly target: Buffer;
}

/** Everything that an index is made of. */
export interface IndexParts {
  readonly columns: IndexColumns;
  readonly seed: number;
}

/**
 * Makes an index out of members in the order of the archive, with what `tar -x` would leave: a name given twice stands
 * for the last file, folders that are only implied are made, a link shares the file that its target is by then.
 */
export class IndexBuilder {
  readonly #columns: IndexColumns = emptyColumns();
  readonly #nodes: IndexNodes;
  readonly #seed = randomInt(2 ** 32);
  readonly #problems: Problems;
  readonly #mostBytes: number;
  #entries = 0;
  #folders = 0;
  #place = 0;
  readonly #pending: PendingLink[] = [];
  #pendingBytes = 0;
  /** The folder of the last member, by the bytes of its path up to the last name. */
  #lastParent = Buffer.alloc(0);
  #lastFolder = 0;
  #cutTold = false;

  /**
   * `mostBytes`: what the index may take in memory; what comes then is left out. `expected`: about how many members
   * there may be.
   */
  constructor(problems: Problems, mostBytes: number, expected = 0) {
    this.#problems = problems;
    this.#nodes = new IndexNodes(this.#columns, problems);
    this.#mostBytes = mostBytes;
    this.#makeTable(tableFor(Math.min(expected, mostExpected)));
    this.#newFolder(this.#nodes.add('directory', impliedPermissions, epoch), 0);
  }

  /** About the bytes that the index takes. */
  get bytes(): number {
    return this.#nodes.bytes + this.#entries * 29 + this.#folders * 16 + this.#pendingBytes;
  }

  get full(): boolean {
    return this.bytes > this.#mostBytes || this.#nodes.textBytes > 0xfff0_0000;
  }

  add(member: Member): void {
    const { path } = member;
    const from = lastName(path);
    if (from >= 0 && this.#isLastParent(path, from)) {
      this.#enter(this.#lastFolder, path, from, path.length, member);
      return;
    }
    const split = memberPath(path);
    if (typeof split === 'string') {
      this.#problems.add(`${shownPath(path)} is left out: ${split}.`);
      return;
    }
    if (split.cut && !this.#cutTold) {
      this.#cutTold = true;
      this.#problems.add(
        `${shownPath(path)} leads out of the archive: what goes up to its last ".." is left out.`,
      );
    }
    const { parts } = split;
    if (parts.length === 0) {
      if (member.type === 'directory') this.#nodes.describe(0, member);
      else this.#problems.add(`${shownPath(path)} is left out: the root can only be a folder.`);
      return;
    }
    let folder = 0;
    for (let part = 0; part < parts.length - 2; part += 2) {
      const next = this.#folderIn(folder, path, parts[part] ?? 0, parts[part + 1] ?? 0, member.modified);
      if (next < 0) {
        const above = path.subarray(0, parts[part + 1]);
        this.#problems.add(`${shownPath(path)} is left out: ${shownPath(above)} is no folder.`);
        return;
      }
      folder = next;
    }
    if (from >= 0 && !split.cut) {
      this.#lastParent = Buffer.from(path.subarray(0, from));
      this.#lastFolder = folder;
    }
    this.#enter(folder, path, parts.at(-2) ?? 0, parts.at(-1) ?? 0, member);
  }

  finish(): IndexParts {
    this.#settleLinks();
    const columns = this.#columns;
    this.#nodes.finish();
    trim(columns, entryColumns, this.#entries);
    trim(columns, folderColumns, this.#folders);
    if (columns.table.length > 4 * tableFor(this.#entries)) this.#makeTable(tableFor(this.#entries));
    this.#order();
    return { columns, seed: this.#seed };
  }

  /** Puts the entries of each folder side by side. */
  #order(): void {
    const { folderFirst, folderCount, entryFolder } = this.#columns;
    let first = 0;
    for (let folder = 0; folder < this.#folders; folder++) {
      folderFirst[folder] = first;
      first += folderCount[folder] ?? 0;
    }
    const order = new Uint32Array(this.#entries);
    const next = folderFirst.slice();
    for (let entry = 0; entry < this.#entries; entry++) {
      const folder = entryFolder[entry] ?? 0;
      const place = next[folder] ?? 0;
      order[place] = entry;
      next[folder] = place + 1;
    }
    this.#columns.order = order;
  }

  #isLastParent(path: Buffer, length: number): boolean {
    const last = this.#lastParent;
    if (last.length !== length) return false;
    for (let at = length - 1; at >= 0; at--) if (last[at] !== path[at]) return false;
    return true;
  }

  #forgetLastParent(): void {
    this.#lastParent = Buffer.alloc(0);
    this.#lastFolder = 0;
  }

  #enter(folder: number, path: Buffer, from: number, to: number, member: Member): void {
    const entry = this.#entryOf(folder, path, from, to);
    const before = entry < 0 ? -1 : (this.#columns.entryNode[entry] ?? 0);
    if (before >= 0 && this.#isDirectory(before)) {
      if (member.type === 'directory') {
        this.#nodes.describe(before, member);
        return;
      }
      const row = this.#columns.place[before] ?? 0;
      if ((this.#columns.folderCount[row] ?? 0) > 0) {
        this.#problems.add(`${shownPath(path)} is left out: a folder that is not empty has its name.`);
        return;
      }
    }
    if (member.type === 'link') {
      this.#link(folder, path, from, to, entry, member);
      return;
    }
    const node = this.#nodeOf(path, member);
    if (node < 0) return;
    this.#point(folder, path, from, to, entry, node);
    if (member.type === 'directory') this.#newFolder(node, folder);
  }

  #link(folder: number, path: Buffer, from: number, to: number, entry: number, member: Member): void {
    const target = this.#find(member.target);
    if (entry < 0) this.#entryOf(folder, path, from, to);
    if (typeof target === 'string') {
      this.#problems.add(`${shownPath(path)} is left out: of its link's target, ${target}.`);
      return;
    }
    if (target >= 0) {
      const node = this.#columns.entryNode[target] ?? 0;
      if (target === entry) return;
      if (this.#isDirectory(node)) {
        this.#problems.add(
          `${shownPath(path)} is left out: it is a link to a folder, ${shownPath(member.target)}.`,
        );
        return;
      }
      this.#point(folder, path, from, to, entry, node);
      return;
    }
    const node = this.#nodes.add('file', member.permissions, member.modified);
    this.#nodes.fill(node, { ...member, unreadable: true, size: 0 });
    const placed = this.#point(folder, path, from, to, entry, node);
    const pending = { entry: placed, node, path: Buffer.from(path), target: Buffer.from(member.target) };
    this.#pending.push(pending);
    this.#pendingBytes += 250 + pending.path.length + pending.target.length;
  }

  /** Links whose target came after them. */
  #settleLinks(): void {
    const pendingOf = new Map(this.#pending.map((pending) => [pending.node, pending]));
    for (const { entry, node, path, target } of this.#pending) {
      if (this.#columns.entryNode[entry] !== node) continue;
      const passed = new Set([node]);
      let found = node;
      for (let at: Buffer | undefined = target; at; at = pendingOf.get(found)?.target) {
        const next = this.#find(at);
        found = typeof next === 'string' || next < 0 ? -1 : (this.#columns.entryNode[next] ?? -1);
        if (found < 0 || this.#isDirectory(found) || passed.has(found)) {
          found = -1;
          break;
        }
        if (pendingOf.has(found)) passed.add(found);
      }
      if (found < 0) {
        this.#problems.add(
          `${shownPath(path)} can't be read: it is a link to ${shownPath(target)}, which is no file here.`,
        );
        // Whoever links to it need not go the same way again.
        for (const each of passed) pendingOf.delete(each);
        continue;
      }
      for (const each of passed) {
        const settled = pendingOf.get(each);
        if (settled && this.#columns.entryNode[settled.entry] === each) this.#repoint(settled.entry, found);
        pendingOf.delete(each);
      }
    }
    this.#pending.length = 0;
    this.#pendingBytes = 0;
  }

  /** The entry at a path; -1: there is none. A sentence where it can be none. */
  #find(path: Buffer): number | string {
    const split = memberPath(path);
    if (typeof split === 'string') return split;
    let folder = 0;
    let entry = -1;
    for (let part = 0; part < split.parts.length; part += 2) {
      if (folder < 0) return -1;
      entry = this.#entryOf(folder, path, split.parts[part] ?? 0, split.parts[part + 1] ?? 0);
      if (entry < 0) return -1;
      const node = this.#columns.entryNode[entry] ?? 0;
      folder = this.#isDirectory(node) ? (this.#columns.place[node] ?? 0) : -1;
    }
    return entry;
  }

  /** The folder of that name, made where there is none; -1: the name stands for something else. */
  #folderIn(folder: number, path: Buffer, from: number, to: number, modified: Time): number {
    const entry = this.#entryOf(folder, path, from, to);
    if (entry >= 0) {
      const node = this.#columns.entryNode[entry] ?? 0;
      return this.#isDirectory(node) ? (this.#columns.place[node] ?? 0) : -1;
    }
    const node = this.#nodes.add('directory', impliedPermissions, modified);
    this.#point(folder, path, from, to, -1, node);
    return this.#newFolder(node, folder);
  }

  /** The entry of a name, or -1; `#place` is where it is in the table, or could be. */
  #entryOf(folder: number, path: Buffer, from: number, to: number): number {
    this.#room();
    const hash = hashOfName(this.#seed, folder, path, from, to);
    this.#place = placeOfName(this.#columns, hash, folder, path, from, to);
    return (this.#columns.table[this.#place] ?? 0) - 1;
  }

  /** Lets a name stand for a node; `entry` is -1 for a new name, which was the last one that was looked for. */
  #point(folder: number, path: Buffer, from: number, to: number, entry: number, node: number): number {
    if (entry >= 0) {
      this.#repoint(entry, node);
      return entry;
    }
    const columns = this.#columns;
    const added = this.#entries++;
    columns.table[this.#place] = added + 1;
    columns.entryFolder[added] = folder;
    columns.entryNode[added] = node;
    columns.entryNameBytes[added] = to - from;
    columns.entryName[added] = this.#nodes.addText(path, from, to);
    columns.folderCount[folder] = (columns.folderCount[folder] ?? 0) + 1;
    this.#linked(node, folder, 1);
    return added;
  }

  #repoint(entry: number, node: number): void {
    const folder = this.#columns.entryFolder[entry] ?? 0;
    const before = this.#columns.entryNode[entry] ?? 0;
    this.#linked(before, folder, -1);
    this.#columns.entryNode[entry] = node;
    this.#linked(node, folder, 1);
    this.#forgetLastParent();
  }

  /** Counts a name of a node; a folder's own names count for what they lie in (its `..`). */
  #linked(node: number, folder: number, by: number): void {
    const counted = this.#isDirectory(node) ? (this.#columns.folderNode[folder] ?? 0) : node;
    this.#columns.links[counted] = (this.#columns.links[counted] ?? 0) + by;
  }

  #isDirectory(node: number): boolean {
    return kindOfNode(this.#columns.kind[node] ?? 0) === 'directory';
  }

  #newFolder(node: number, parent: number): number {
    const columns = this.#columns;
    if (this.#folders === columns.folderNode.length) grow(columns, folderColumns, this.#folders);
    const folder = this.#folders++;
    columns.folderNode[folder] = node;
    columns.folderParent[folder] = parent;
    columns.place[node] = folder;
    columns.links[node] = 2;
    return folder;
  }

  /** A node for a member, or -1 where it can't be shown. */
  #nodeOf(path: Buffer, member: Member): number {
    const { type, target } = member;
    if (type === 'link') return -1;
    if (type === 'symlink' && (target.length === 0 || target.length > longestTarget || target.includes(0))) {
      this.#problems.add(
        `${shownPath(path)} is left out: a symlink can't have a target of ${target.length} bytes.`,
      );
      return -1;
    }
    const node = this.#nodes.add(type, member.permissions, member.modified);
    this.#nodes.fill(node, member);
    return node;
  }

  /** Room for one more entry, and for finding it: the table is never more than 3/4 full. */
  #room(): void {
    const columns = this.#columns;
    if (this.#entries === columns.entryNode.length) grow(columns, entryColumns, this.#entries);
    if ((this.#entries + 1) * 4 <= columns.table.length * 3) return;
    this.#makeTable(Math.max(64, columns.table.length * 4));
  }

  #makeTable(length: number): void {
    const columns = this.#columns;
    columns.table = new Uint32Array(length);
    const { table, entryFolder, entryName, entryNameBytes, text } = columns;
    const mask = table.length - 1;
    for (let entry = 0; entry < this.#entries; entry++) {
      const from = entryName[entry] ?? 0;
      const to = from + (entryNameBytes[entry] ?? 0);
      let place = hashOfName(this.#seed, entryFolder[entry] ?? 0, text, from, to) & mask;
      while (table[place] !== 0) place = (place + 1) & mask;
      table[place] = entry + 1;
    }
  }
}

/** A table for so many entries. */
function tableFor(entries: number): number {
  return Math.max(64, 2 ** Math.ceil(Math.log2((entries + 1) * 1.5)));
}
