import type { Disk } from '../disks/disk.js';
import { isEntryName, type Name, nameToText } from '../name.js';
import type { OpenTree } from '../tree/tree.js';

/** Names in a still's folder that the layout has for itself. */
const layoutNames: readonly string[] = ['disks', 'changes', 'rootfs', 'files', 'volumes.json', 'PROBLEM.txt'];
const onlyChanges =
  'There is neither files/ nor rootfs/: only what has changed on the disks can be read (readable: dirty).';
const longestSuffix = '.dirty.json'.length;

/** A disk of a backup or of a snapshot. */
export interface StillDisk {
  readonly name: Name;
  /** Only what has changed on it can be read. */
  readonly limited?: boolean;
  /** The caller closes it. */
  open(signal: AbortSignal): Promise<Disk>;
}

/** What a backup or a snapshot gives to be shown. */
export interface StillParts<File extends { readonly name: Name }> {
  /** The path of its folder's node. */
  readonly path: Name;
  /** Stands for its contents as they were when it was opened; for what is kept of its parts. */
  readonly key: string;
  readonly files: readonly File[];
  readonly disks: readonly StillDisk[];
  readonly rootfs?: OpenTree | undefined;
  /** What its maker knows to be wrong at present. */
  readonly problems: () => readonly string[];
  /** Names of its folder, beside those that every still's has, that are not for its files. */
  readonly ownNames?: readonly Name[];
}

/** A guest's state at one instant, a backup's or a snapshot's, as it is shown. */
export class Still<File extends { readonly name: Name } = { readonly name: Name }> {
  readonly path: Name;
  readonly key: string;
  readonly files: ReadonlyMap<Name, File>;
  readonly disks: ReadonlyMap<Name, StillDisk>;
  readonly rootfs: OpenTree | undefined;
  readonly #problems: () => readonly string[];
  readonly #notShown: readonly string[];
  readonly #foundProblems = new Map<string, string>();
  readonly #absent = new Set<Name>();
  #ended = false;

  constructor({ path, key, files, disks, rootfs, problems, ownNames = [] }: StillParts<File>) {
    this.path = path;
    this.key = key;
    this.rootfs = rootfs;
    this.#problems = problems;
    const notShown: string[] = [];
    const taken = new Set<string>([...layoutNames, ...ownNames]);
    this.files = new Map(
      files.flatMap((file): Array<[Name, File]> => {
        if (!taken.has(file.name) && isEntryName(file.name)) return [[file.name, file]];
        notShown.push(`${nameToText(file.name)} is not shown: the mount has that name for something else`);
        return [];
      }),
    );
    this.disks = new Map(
      disks.flatMap((disk): Array<[Name, StillDisk]> => {
        if (isEntryName(disk.name) && disk.name.length <= 255 - longestSuffix) return [[disk.name, disk]];
        notShown.push(
          `the disk ${nameToText(disk.name)} is not shown: its name leaves no room for .dirty.json`,
        );
        return [];
      }),
    );
    if (this.#limited) notShown.push(onlyChanges);
    this.#notShown = notShown;
  }

  get #limited(): boolean {
    for (const { limited } of this.disks.values()) if (limited) return true;
    return false;
  }

  /** Whether there are disks that can be looked into. */
  get isInspectable(): boolean {
    return this.disks.size > 0 && !this.#limited;
  }

  /** Says that there is no such thing after all, which only a look at the disks could tell. */
  setAbsent(name: Name): void {
    this.#absent.add(name);
  }

  isAbsent(name: Name): boolean {
    return this.#absent.has(name);
  }

  get hasProblems(): boolean {
    return this.#problems().length + this.#notShown.length + this.#foundProblems.size > 0;
  }

  /** What PROBLEM.txt says. */
  get problemText(): string {
    return [...this.#problems(), ...this.#notShown, ...this.#foundProblems.values()]
      .map((sentence) => `${sentence}\n`)
      .join('');
  }

  /** Notes what was found wrong with a part, or that it is well (undefined). True where that is news. */
  note(part: string, sentence: string | undefined): boolean {
    if (this.#ended || this.#foundProblems.get(part) === sentence) return false;
    if (sentence === undefined) this.#foundProblems.delete(part);
    else this.#foundProblems.set(part, sentence);
    return true;
  }

  /** True for a snapshot that has ended: that its parts fail is no news then. */
  get ended(): boolean {
    return this.#ended;
  }

  end(): void {
    this.#ended = true;
  }
}
