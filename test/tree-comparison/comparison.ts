import {
  type BigIntStats,
  closeSync,
  constants,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
} from 'node:fs';
import { O_PATH } from '../../src/posix/openat2.js';
import { dataRanges, firstDifference, withOpen } from './contents.js';
import type { Aspect, ComparisonOptions, Difference } from './difference.js';
import { readXattrs } from './file-calls.js';
import { HardLinks } from './hard-links.js';

/** Two folders that are open, so that paths may be longer than the system takes at once. */
interface OpenPair {
  readonly expected: number;
  readonly actual: number;
}

const types: ReadonlyArray<readonly [bigint, string]> = [
  [0o100000n, 'file'],
  [0o040000n, 'directory'],
  [0o120000n, 'symlink'],
  [0o060000n, 'block'],
  [0o020000n, 'character'],
  [0o010000n, 'fifo'],
  [0o140000n, 'socket'],
];
const typeOf = (stats: BigIntStats): string =>
  types.find(([bits]) => (stats.mode & 0o170000n) === bits)?.[1] ?? 'unknown';

/** Walks two trees side by side, folder by folder, and tells of each difference. Synchronous, one file in memory at a time. */
export class Comparison {
  readonly #options: Required<ComparisonOptions>;
  readonly #tell: (difference: Difference) => void;
  readonly #links = new HardLinks();
  #told = 0;

  constructor(options: Required<ComparisonOptions>, tell: (difference: Difference) => void) {
    this.#options = options;
    this.#tell = tell;
  }

  compare(expected: string, actual: string): void {
    this.#pair('.', Buffer.from(expected), Buffer.from(actual));
  }

  #pair(path: string, expected: Buffer, actual: Buffer): void {
    const before = lstatSync(expected, { bigint: true });
    let after: BigIntStats;
    try {
      after = lstatSync(actual, { bigint: true });
    } catch (error) {
      this.#differ(path, 'readable', 'yes', String(error));
      return;
    }
    const type = typeOf(before);
    if (type !== typeOf(after)) {
      this.#differ(path, 'type', type, typeOf(after));
      return;
    }
    this.#stats(path, type, before, after);
    try {
      this.#xattrs(path, readXattrs(expected), readXattrs(actual));
      if (type === 'symlink') this.#same(path, 'target', linkText(expected), linkText(actual));
      if (type === 'file') this.#bytes(path, expected, actual, before, after);
    } catch (error) {
      this.#differ(path, 'readable', 'yes', String(error));
    }
    if (type === 'directory') this.#folder(path, expected, actual);
  }

  #stats(path: string, type: string, before: BigIntStats, after: BigIntStats): void {
    const octal = (mode: bigint): string => (mode & 0o7777n).toString(8);
    this.#same(path, 'permissions', octal(before.mode), octal(after.mode));
    this.#same(path, 'uid', before.uid, after.uid);
    this.#same(path, 'gid', before.gid, after.gid);
    this.#same(path, 'modified', before.mtimeNs, after.mtimeNs);
    if (this.#options.inodes === 'same') {
      this.#same(path, 'accessed', before.atimeNs, after.atimeNs);
      this.#same(path, 'changed', before.ctimeNs, after.ctimeNs);
      this.#same(path, 'blocks', before.blocks, after.blocks);
    }
    if (type === 'block' || type === 'character') this.#same(path, 'device', before.rdev, after.rdev);
    if (type !== 'directory' || this.#options.folders === 'same') {
      this.#same(path, 'size', before.size, after.size);
      this.#same(path, 'links', before.nlink, after.nlink);
    }
    if (type === 'directory' || (before.nlink < 2n && after.nlink < 2n)) return;
    if (!this.#links.agree(`${before.dev} ${before.ino}`, `${after.dev} ${after.ino}`)) {
      this.#differ(path, 'links', `the names of inode ${before.ino}`, `other names for inode ${after.ino}`);
    }
  }

  #xattrs(path: string, before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): void {
    if (before.size === 0 && after.size === 0) return;
    for (const name of new Set([...before.keys(), ...after.keys()])) {
      const shown = (value: string | undefined): string =>
        `${name}: ${value === undefined ? 'none' : value.slice(0, 200)}`;
      if (before.get(name) !== after.get(name)) {
        this.#differ(path, 'xattrs', shown(before.get(name)), shown(after.get(name)));
      }
    }
  }

  #bytes(path: string, expected: Buffer, actual: Buffer, before: BigIntStats, after: BigIntStats): void {
    const { contents, holes } = this.#options;
    if (before.size !== after.size || before.size === 0n || (contents !== 'read' && holes !== 'same')) return;
    const size = Number(before.size);
    withOpen(expected, actual, (first, second) => {
      if (contents === 'read') {
        const offset = firstDifference(first, second, size);
        if (offset !== undefined) this.#differ(path, 'contents', 'the same bytes', `others from ${offset}`);
      }
      if (holes === 'same') this.#same(path, 'holes', dataRanges(first, size), dataRanges(second, size));
    });
  }

  #folder(path: string, expected: Buffer, actual: Buffer): void {
    const open = (folder: Buffer): number =>
      openSync(folder, O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    const first = open(expected);
    try {
      const second = open(actual);
      try {
        this.#entries(path, { expected: first, actual: second });
      } finally {
        closeSync(second);
      }
    } finally {
      closeSync(first);
    }
  }

  #entries(path: string, folders: OpenPair): void {
    const before = namesIn(folders.expected);
    let after: string[];
    try {
      after = namesIn(folders.actual);
    } catch (error) {
      this.#differ(path, 'readable', 'yes', String(error));
      return;
    }
    const at = (name: string): string => (path === '.' ? name : `${path}/${name}`);
    let place = 0;
    for (const name of before) {
      for (; (after[place] ?? name) < name; place++)
        this.#differ(at(after[place] ?? ''), 'presence', 'not there', 'there');
      if (after[place] !== name) {
        this.#differ(at(name), 'presence', 'there', 'not there');
        continue;
      }
      place++;
      this.#pair(at(name), pathIn(folders.expected, name), pathIn(folders.actual, name));
    }
    for (; place < after.length; place++)
      this.#differ(at(after[place] ?? ''), 'presence', 'not there', 'there');
  }

  #same(path: string, aspect: Aspect, expected: unknown, actual: unknown): void {
    if (expected !== actual) this.#differ(path, aspect, String(expected), String(actual));
  }

  #differ(path: string, aspect: Aspect, expected: string, actual: string): void {
    this.#tell({ path, aspect, expected, actual });
    this.#told++;
    if (this.#told >= this.#options.most) throw new TooManyDifferences();
  }
}

/** Ends a comparison that has told enough. */
export class TooManyDifferences extends Error {}

/** Sorted; twice the same name stays twice. */
function namesIn(folder: number): string[] {
  return readdirSync(`/proc/self/fd/${folder}`, { encoding: 'latin1' }).sort();
}

function pathIn(folder: number, name: string): Buffer {
  return Buffer.from(`/proc/self/fd/${folder}/${name}`, 'latin1');
}

function linkText(path: Buffer): string {
  return readlinkSync(path, 'latin1');
}
