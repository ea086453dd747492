import { messageOf, StillError } from '../../errors.js';
import { type Name, nameToBytes } from '../../name.js';
import type { FolderEntry, ListedEntry } from '../file-system.js';
import { casefold } from './casefold.js';
import { DirectoryEntries } from './directory-entries.js';
import { type HashName, hashOfVersion } from './directory-hash.js';
import { hashInName, nameWithoutKey } from './encrypted-name.js';
import type { EntryBlocks } from './entry-blocks.js';
import { Htree } from './htree.js';
import { type ExtInode, hasFlag } from './inode.js';
import type { Superblock } from './superblock.js';

/** So many entries are given at once, and those that are left of the last one's block. */
const listed = 256;

/** Whether an entry is the one that is looked for. */
type IsWanted = (entry: DirectoryEntries) => boolean;
/** Its hash, as the index has it. */
type HashWanted = (hash: HashName) => number;

/** Finds and lists the entries of a folder. */
export class FolderEntries {
  readonly #superblock: Superblock;
  readonly #inode: ExtInode;
  readonly #blocks: EntryBlocks;
  readonly #problem: (sentence: string) => void;
  readonly #shown: (entry: DirectoryEntries) => Name;
  /** What is damaged: a listing ends with it, after all that can be read. */
  #damage: StillError | undefined;

  constructor(
    superblock: Superblock,
    inode: ExtInode,
    blocks: EntryBlocks,
    problem: (sentence: string) => void,
  ) {
    this.#superblock = superblock;
    this.#inode = inode;
    this.#blocks = blocks;
    this.#problem = problem;
    this.#shown = hasFlag(inode, 'encrypted') ? encryptedNames(superblock) : ({ name }) => name;
  }

  /** EIO: the folder is damaged, and the name is not among what can be read. */
  async find(name: Name, signal: AbortSignal): Promise<FolderEntry | undefined> {
    const bytes = nameToBytes(name);
    if (hasFlag(this.#inode, 'encrypted')) {
      const major = hashInName(name);
      if (major === undefined) return undefined;
      const isShown: IsWanted = (entry) => this.#shown(entry) === name;
      return this.#search([isShown], () => major, signal);
    }
    const isExact: IsWanted = (entry) => entry.is(bytes);
    if (!hasFlag(this.#inode, 'casefolded'))
      return this.#search([isExact], (hash) => hash(bytes).major, signal);
    const folded = casefold(bytes) ?? bytes;
    const isAlike: IsWanted = (entry) => {
      const stored = entry.bytes.subarray(entry.from, entry.to);
      return folded.equals(casefold(stored) ?? stored);
    };
    const found = await this.#search([isExact, isAlike], (hash) => hash(folded).major, signal);
    // Where Linux folds the name in another way, its hash is another, too.
    return found ?? this.#oneByOne([isExact, isAlike], signal);
  }

  /** Cookies are the bytes of the folder up to an entry's end. EIO: there is damage, and all else was listed. */
  async entries(after: bigint, signal: AbortSignal): Promise<ListedEntry[]> {
    const { bytes, count } = this.#blocks;
    const rows: ListedEntry[] = [];
    let from = Number(after);
    for (let index = Math.floor(from / bytes); index < count && rows.length < listed; ) {
      const offset = index * bytes;
      try {
        const block = await this.#blocks.entries(index, signal);
        this.#list(rows, block, offset, Math.max(from - offset, 0));
        index++;
      } catch (error) {
        this.#note(error);
        index = await this.#afterDamage(index, signal);
      }
      from = index * bytes;
    }
    if (rows.length === 0 && this.#damage) throw this.#damage;
    return rows;
  }

  #list(rows: ListedEntry[], block: Buffer, offset: number, start: number): void {
    const entries = new DirectoryEntries(this.#inode.number, block, start);
    while (entries.advance()) {
      const { inode, type, next } = entries;
      rows.push({ name: this.#shown(entries), inode: BigInt(inode), type, cookie: BigInt(offset + next) });
    }
  }

  /** The first entry that is wanted, by the first of these ways in which there is one. */
  async #search(
    ways: readonly IsWanted[],
    hashed: HashWanted,
    signal: AbortSignal,
  ): Promise<FolderEntry | undefined> {
    if (!this.#hasIndex) return this.#oneByOne(ways, signal);
    try {
      const index = await Htree.open(this.#inode.number, this.#blocks, this.#superblock, signal);
      if (!index) return await this.#oneByOne(ways, signal);
      const best = new BestEntry(ways);
      for await (const leaf of index.leaves(hashed(index.hash), signal)) {
        best.look(new DirectoryEntries(this.#inode.number, await this.#blocks.entries(leaf, signal)));
        if (best.isFirst) break;
      }
      return best.entry;
    } catch (error) {
      this.#note(error);
      return this.#oneByOne(ways, signal);
    }
  }

  async #oneByOne(ways: readonly IsWanted[], signal: AbortSignal): Promise<FolderEntry | undefined> {
    const best = new BestEntry(ways);
    let damage: unknown;
    for (let index = 0; index < this.#blocks.count && !best.isFirst; ) {
      try {
        best.look(new DirectoryEntries(this.#inode.number, await this.#blocks.entries(index, signal)));
        index++;
      } catch (error) {
        this.#note(error);
        damage ??= error;
        index = await this.#afterDamage(index, signal);
      }
    }
    if (!best.entry && damage !== undefined) throw damage;
    return best.entry;
  }

  get #hasIndex(): boolean {
    return (
      this.#superblock.features.directoryIndex && hasFlag(this.#inode, 'indexed') && this.#blocks.count > 1
    );
  }

  /** The next block that may hold entries. */
  async #afterDamage(index: number, signal: AbortSignal): Promise<number> {
    try {
      return Math.max(index + 1, await this.#blocks.afterHole(index, signal));
    } catch (error) {
      this.#note(error);
      return index + 1;
    }
  }

  /** Takes note of damage. Whatever else it is goes on. */
  #note(error: unknown): void {
    if (!(error instanceof StillError) || error.code !== 'EIO') throw error;
    this.#damage ??= error;
    this.#problem(`${messageOf(error)}.`);
  }
}

/** Looks for an entry in several ways at once; the first way counts most. */
class BestEntry {
  readonly #ways: readonly IsWanted[];
  #way: number;
  entry: FolderEntry | undefined;

  constructor(ways: readonly IsWanted[]) {
    this.#ways = ways;
    this.#way = ways.length;
  }

  /** Whether nothing better can be found. */
  get isFirst(): boolean {
    return this.#way === 0;
  }

  look(entries: DirectoryEntries): void {
    while (this.#way > 0 && entries.advance()) {
      const way = this.#ways.findIndex((isWanted) => isWanted(entries));
      if (way < 0 || way >= this.#way) continue;
      this.#way = way;
      this.entry = { inode: BigInt(entries.inode), type: entries.type };
    }
  }
}

/** How Linux calls encrypted files where it has no key. */
function encryptedNames(superblock: Superblock): (entry: DirectoryEntries) => Name {
  const { features, hash } = superblock;
  const hashName = features.directoryIndex ? hashOfVersion(hash.version, superblock) : undefined;
  return ({ bytes, from, to }) => {
    const encrypted = bytes.subarray(from, to);
    return nameWithoutKey(encrypted, hashName?.(encrypted) ?? { major: 0, minor: 0 });
  };
}
