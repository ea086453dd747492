import { LRUCache } from 'lru-cache';
import type { Inode } from '../../attributes.js';
import type { Entry } from '../../tree.js';

/** Files of up to so many bytes go over as a whole. */
export const mostWhole = 128 * 1024;
/** What is foretold at a time, at most. */
export const mostFilesAhead = 64;
const mostBytesAhead = 256 * 1024;

/** So many files, and folders, are remembered in their order. */
const mostFiles = 131_072;
const mostFolders = 4096;
/** Who leaves out more files than that reads in another order. */
const mostLeftOut = 32;
/** When so many files were read in order, the next folder that is listed will be, too. */
const certain = 16;

/**
 * Foretells which small files will be opened: who reads one file after the other in the order in which they were listed
 * (tar, rsync, cp -r) mostly goes on so, and does the same with the next folder.
 */
export class ReadingOrder {
  readonly #folders = new LRUCache<Inode, FolderOrder>({
    max: mostFolders,
    maxSize: mostFiles + mostFolders,
    sizeCalculation: (order) => order.length + 1,
    dispose: (order) => this.#drop(order),
  });
  readonly #firstFiles = new Map<Inode, FolderOrder>();
  /** By the file that will be opened next if the folder is read in order. */
  readonly #nextFiles = new Map<Inode, FolderOrder>();
  /** The folder that was listed, or read from in order, last of all. */
  #current: FolderOrder | undefined;
  /** How many of the files that were opened last were opened in order. */
  #inOrder = 0;
  /** A folder whose files were foretold when it was listed, as long as none of them was opened. */
  #unproven: FolderOrder | undefined;

  /** To be called with each piece of a folder's listing. Gives the files that will be opened first. */
  listed(folder: Inode, after: bigint, entries: readonly Entry[]): readonly Inode[] {
    const begun = after === 0n ? new FolderOrder() : this.#folders.get(folder);
    const end = entries.at(-1)?.cookie;
    if (!begun || begun.end !== after || end === undefined) return [];
    // Its size is reckoned only when it is set anew.
    this.#folders.delete(folder);
    begun.append(entries, end);
    this.#folders.set(folder, begun);
    const first = begun.inodeAt(0);
    if (first === undefined) return [];
    this.#firstFiles.set(first, begun);
    this.#expect(begun);
    this.#current = begun;
    return after === 0n ? this.#foretold(begun) : [];
  }

  /** To be called with each file that is opened. Gives those that will be opened after it, each once. */
  opened(inode: Inode): readonly Inode[] {
    const order = this.#placed(inode);
    if (!order) {
      this.#inOrder = 0;
      return [];
    }
    this.#inOrder++;
    this.#current = order;
    if (order === this.#unproven) this.#unproven = undefined;
    if (this.#inOrder < 2) return [];
    const most = Math.min(2 ** this.#inOrder, mostFilesAhead);
    return order.foretold > most / 2 ? [] : order.foretell(most);
  }

  clear(): void {
    this.#folders.clear();
    this.#current = undefined;
    this.#unproven = undefined;
  }

  #foretold(order: FolderOrder): readonly Inode[] {
    if (this.#unproven) {
      // It was for nothing: somebody only lists.
      this.#unproven = undefined;
      this.#inOrder = 0;
    }
    if (this.#inOrder < certain) return [];
    this.#unproven = order;
    return order.foretell(mostFilesAhead);
  }

  /** The folder in whose order the file was opened, with its place moved behind the file. */
  #placed(inode: Inode): FolderOrder | undefined {
    const next = this.#nextFiles.get(inode);
    if (next) this.#move(next, next.next + 1);
    const skipped = next ?? this.#skipped(inode);
    if (skipped) return skipped;
    const first = this.#firstFiles.get(inode);
    if (!first) return undefined;
    first.begin();
    this.#move(first, 1);
    return first;
  }

  #skipped(inode: Inode): FolderOrder | undefined {
    const order = this.#current;
    if (!order) return undefined;
    for (let at = order.next + 1; at <= order.next + mostLeftOut; at++) {
      if (order.inodeAt(at) !== inode) continue;
      this.#move(order, at + 1);
      return order;
    }
    return undefined;
  }

  #move(order: FolderOrder, next: number): void {
    this.#unexpect(order);
    order.next = next;
    this.#expect(order);
  }

  #expect(order: FolderOrder): void {
    const next = order.inodeAt(order.next);
    if (next !== undefined) this.#nextFiles.set(next, order);
  }

  #unexpect(order: FolderOrder): void {
    const next = order.inodeAt(order.next);
    if (next !== undefined && this.#nextFiles.get(next) === order) this.#nextFiles.delete(next);
  }

  #drop(order: FolderOrder): void {
    this.#unexpect(order);
    const first = order.inodeAt(0);
    if (first !== undefined && this.#firstFiles.get(first) === order) this.#firstFiles.delete(first);
    if (this.#current === order) this.#current = undefined;
    if (this.#unproven === order) this.#unproven = undefined;
  }
}

/** The files of one folder in the order of its listing. */
class FolderOrder {
  #inodes = new BigUint64Array(16);
  /** Bytes; infinite where a file does not go over as a whole. */
  #sizes = new Float64Array(16);
  length = 0;
  /** The cookie up to which the folder is listed here. */
  end = 0n;
  /** The place of the file that will be opened next. */
  next = 0;
  /** The place up to which files were foretold. */
  #told = 0;

  append(entries: readonly Entry[], end: bigint): void {
    this.end = end;
    for (const { inode, type, found } of entries) {
      if (type !== 'file' || !found) continue;
      const { size, allocated, freshSeconds } = found.attributes;
      const whole = size <= mostWhole && allocated >= size && freshSeconds === Number.POSITIVE_INFINITY;
      this.#makeRoom();
      this.#inodes[this.length] = inode;
      this.#sizes[this.length] = whole ? size : Number.POSITIVE_INFINITY;
      this.length++;
    }
  }

  inodeAt(place: number): Inode | undefined {
    return place < this.length ? this.#inodes[place] : undefined;
  }

  /** It is read from the start once more. */
  begin(): void {
    this.#told = 0;
  }

  /** How many files are foretold and not opened. */
  get foretold(): number {
    return Math.max(0, this.#told - this.next);
  }

  /** The next small files that were not foretold, up to so many. */
  foretell(most: number): readonly Inode[] {
    const files: Inode[] = [];
    let bytes = 0;
    let place = Math.max(this.next, this.#told);
    const end = Math.min(this.length, place + most);
    for (; place < end; place++) {
      const size = this.#sizes[place] ?? Number.POSITIVE_INFINITY;
      if (size > mostWhole) continue;
      bytes += size;
      if (bytes > mostBytesAhead) break;
      const inode = this.#inodes[place];
      if (inode !== undefined) files.push(inode);
    }
    this.#told = place;
    return files;
  }

  #makeRoom(): void {
    if (this.length < this.#inodes.length) return;
    const inodes = new BigUint64Array(this.length * 2);
    inodes.set(this.#inodes);
    this.#inodes = inodes;
    const sizes = new Float64Array(this.length * 2);
    sizes.set(this.#sizes);
    this.#sizes = sizes;
  }
}
