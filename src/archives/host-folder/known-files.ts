import { StillError } from '../../errors.js';
import type { Name } from '../../name.js';
import type { Inode } from '../../tree/attributes.js';

/** Where a file is: the name it was found by last. */
export interface Place {
  readonly folder: Inode;
  readonly name: Name;
}

/**
 * How many forgotten files stay at hand: for an answer that was on its way while its file was forgotten, and for an NFS
 * server, which asks again by number.
 */
const lingering = 10_000;

const none = -1;
const root = 0;

/**
 * Where each known file lies, by its inode. A million files are to be affordable, so a file has no object but a place
 * in a few arrays (about 30 bytes, and its name): a hash table with chains, the chains and the free places linked by
 * `#next`. A folder stays as long as something in it is known.
 */
export class KnownFiles {
  #buckets = new Int32Array(1024).fill(none);
  /** Two words for each place, the lower first: reading a BigUint64Array would make an object each time. */
  #inodes = new Uint32Array(2048);
  #next = new Int32Array(1024);
  #folders = new Int32Array(1024);
  /** Twice the number of files that are known in it, plus 1 if it is known itself. */
  #uses = new Int32Array(1024);
  readonly #names: Name[] = [];
  #free = none;
  #count = 0;
  readonly #forgotten: Inode[] = [];
  #oldestForgotten = 0;
  readonly #words = new Uint32Array(2);
  readonly #inode = new BigUint64Array(this.#words.buffer);

  constructor(rootInode: Inode) {
    this.#add(rootInode, none, '' as Name);
    this.#uses[root] = 1;
  }

  /** How many files have a place, the root, lingering ones and the folders that lead to others included. */
  get count(): number {
    return this.#count;
  }

  /** How much of the program's memory the arrays take, in bytes, without the names. */
  get bytes(): number {
    const arrays = [this.#buckets, this.#inodes, this.#next, this.#folders, this.#uses];
    return arrays.reduce((sum, array) => sum + array.byteLength, this.#names.length * 8);
  }

  has(inode: Inode): boolean {
    return this.#find(inode) !== none;
  }

  /** Where a file is; undefined for the root. ESTALE: the file is not known. */
  placeOf(inode: Inode): Place | undefined {
    const place = this.#known(inode);
    if (place === root) return undefined;
    return { folder: this.#inodeAt(at(this.#folders, place)), name: this.#names[place] ?? ('' as Name) };
  }

  /**
   * Takes note of where a file was found. A file that was found elsewhere before (a hard link, or it was moved) is
   * looked for here from now on. ESTALE: the folder is not known, or it was moved into itself meanwhile.
   */
  learn(inode: Inode, folder: Inode, name: Name): void {
    const parent = this.#known(folder);
    let place = this.#find(inode);
    if (place === none) {
      place = this.#add(inode, parent, name);
      this.#use(parent, 2);
    } else if (place !== root && at(this.#folders, place) !== parent) {
      if (at(this.#uses, place) > 1) this.#refuseCircle(place, parent);
      const before = at(this.#folders, place);
      this.#folders[place] = parent;
      this.#names[place] = name;
      this.#use(parent, 2);
      this.#drop(before, 2);
    } else if (place !== root) {
      this.#names[place] = name;
    }
    this.#uses[place] = at(this.#uses, place) | 1;
  }

  /** Takes note that a known file is referred to again. */
  keep(inode: Inode): void {
    const place = this.#known(inode);
    this.#uses[place] = at(this.#uses, place) | 1;
  }

  /** Takes note that nobody refers to a file any more; it lingers for a while. */
  forget(inode: Inode): void {
    const place = this.#find(inode);
    if (place === none || place === root || !(at(this.#uses, place) & 1)) return;
    this.#uses[place] = at(this.#uses, place) & ~1;
    const oldest = this.#forgotten[this.#oldestForgotten];
    this.#forgotten[this.#oldestForgotten] = inode;
    this.#oldestForgotten = (this.#oldestForgotten + 1) % lingering;
    if (oldest === undefined) return;
    const gone = this.#find(oldest);
    if (gone !== none) this.#drop(gone, 0);
  }

  #use(place: number, by: number): void {
    this.#uses[place] = at(this.#uses, place) + by;
  }

  /** Takes uses from a file, and lets it go, and then the folders above, where none is left. */
  #drop(first: number, by: number): void {
    let place = first;
    let uses = by;
    while (place > root) {
      this.#use(place, -uses);
      if (at(this.#uses, place) !== 0) return;
      const folder = at(this.#folders, place);
      this.#remove(place);
      place = folder;
      uses = 2;
    }
    if (place === root) this.#use(root, -uses);
  }

  #refuseCircle(moved: number, into: number): void {
    for (let place = into; place !== none; place = at(this.#folders, place)) {
      if (place === moved) {
        throw new StillError(
          'ESTALE',
          `folder ${this.#inodeAt(moved)} was moved while it was looked at; list it anew`,
        );
      }
    }
  }

  #known(inode: Inode): number {
    const place = this.#find(inode);
    if (place !== none) return place;
    throw new StillError(
      'ESTALE',
      `file ${inode} of a container's folder is not known any more; look it up anew`,
    );
  }

  #find(inode: Inode): number {
    this.#inode[0] = inode;
    const low = at(this.#words, 0);
    const high = at(this.#words, 1);
    let place = at(this.#buckets, this.#bucket(low, high));
    while (place !== none && (this.#inodes[place * 2] !== low || this.#inodes[place * 2 + 1] !== high)) {
      place = at(this.#next, place);
    }
    return place;
  }

  #bucket(low: number, high: number): number {
    // Fibonacci hashing: inode numbers come in runs, and the buckets are a power of two.
    const mixed = Math.imul(low ^ Math.imul(high, 0x85ebca6b), 0x9e3779b1);
    return (mixed ^ (mixed >>> 15)) & (this.#buckets.length - 1);
  }

  #inodeAt(place: number): Inode {
    this.#words[0] = at(this.#inodes, place * 2);
    this.#words[1] = at(this.#inodes, place * 2 + 1);
    return this.#inode[0] ?? 0n;
  }

  #add(inode: Inode, folder: number, name: Name): number {
    let place = this.#free;
    if (place !== none) this.#free = at(this.#next, place);
    else {
      place = this.#names.length;
      if (place === this.#next.length) this.#grow();
    }
    this.#inode[0] = inode;
    const low = at(this.#words, 0);
    const high = at(this.#words, 1);
    this.#inodes[place * 2] = low;
    this.#inodes[place * 2 + 1] = high;
    this.#folders[place] = folder;
    this.#uses[place] = 0;
    this.#names[place] = name;
    this.#link(place);
    this.#count++;
    return place;
  }

  #link(place: number): void {
    const bucket = this.#bucket(at(this.#inodes, place * 2), at(this.#inodes, place * 2 + 1));
    this.#next[place] = at(this.#buckets, bucket);
    this.#buckets[bucket] = place;
  }

  #remove(place: number): void {
    const bucket = this.#bucket(at(this.#inodes, place * 2), at(this.#inodes, place * 2 + 1));
    if (this.#buckets[bucket] === place) this.#buckets[bucket] = at(this.#next, place);
    else {
      let before = at(this.#buckets, bucket);
      while (this.#next[before] !== place) before = at(this.#next, before);
      this.#next[before] = at(this.#next, place);
    }
    this.#names[place] = '' as Name;
    this.#next[place] = this.#free;
    this.#free = place;
    this.#count--;
  }

  #grow(): void {
    const room = this.#next.length * 2;
    const grown = <T extends Int32Array | Uint32Array>(into: T, from: T): T => {
      into.set(from);
      return into;
    };
    this.#inodes = grown(new Uint32Array(room * 2), this.#inodes);
    this.#next = grown(new Int32Array(room), this.#next);
    this.#folders = grown(new Int32Array(room), this.#folders);
    this.#uses = grown(new Int32Array(room), this.#uses);
    this.#buckets = new Int32Array(room).fill(none);
    for (let place = 0; place < this.#names.length; place++) this.#link(place);
  }
}

/** An element of an array that is known to be there. */
function at(array: Int32Array | Uint32Array, index: number): number {
  const value = array[index];
  if (value === undefined) throw new RangeError(`place ${index} is outside of ${array.length}`);
  return value;
}
