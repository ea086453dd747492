import { join } from 'node:path';
import type { Disk } from '../../disks/disk.js';
import { openQcow2Image } from '../../disks/qcow2/qcow2-image.js';
import { openRawImage } from '../../disks/raw/raw-image.js';
import type { StoreFolder } from '../../disks/store-folder.js';
import { messageOf, StillError } from '../../errors.js';
import { nameFromText, nameToText } from '../../name.js';
import { type BackupDescription, backupJson } from '../../stores/directory/backup-json.js';
import { noteFile, protectedFile } from '../../stores/directory/backup-marks.js';
import type { BackupPart } from '../../stores/directory/backup-part.js';
import { type DiskPart, describePart } from '../../stores/directory/stored-disks.js';
import type { PartProgress } from '../job/part-progress.js';
import { type BackupContent, readContent } from '../stored/backup-content.js';
import { SumsFile } from '../sums/sums-file.js';
import { chainProblems } from './chain-problems.js';
import { compareWithSums, type VerifiedParent } from './compare-with-sums.js';
import { byteRange, type Damage } from './damage.js';
import { type BackupVerdict, type PartVerdict, worst } from './verdict.js';

/** Ranges of one part that are told. */
const mostRanges = 1000;
/** How many parts of a backup are read at a time. */
const partsAtOnce = 3;

/** What is of no use for a restore, or has a check of its own. */
const withoutSums: readonly string[] = [backupJson, 'backup.log', protectedFile, noteFile];

/** What was found of disks already, for those that build on them: by `BACKUP/FILE`. */
export type VerifiedDisks = Map<string, { readonly sums: string; readonly damage: Damage }>;

export interface BackupToVerify {
  readonly store: StoreFolder;
  readonly guest: string;
  readonly backup: string;
  /** The backups that build on it. */
  readonly dependents: readonly string[];
  readonly verified: VerifiedDisks;
  readonly progress: (progress: PartProgress) => void;
}

/** Reads all of a backup and compares it with its checksums. What is damaged is told, never thrown. */
export async function verifyBackup(what: BackupToVerify, signal: AbortSignal): Promise<BackupVerdict> {
  const { store, guest, backup, dependents } = what;
  const content = await readContent(store, guest, backup, signal);
  const problems = [...content.problems];
  const parts: PartVerdict[] = [];
  const tasks = [
    ...content.disks.map((disk) => async () => {
      const { verdict, problems: found } = await new DiskVerification(what, content, disk).run(signal);
      parts.push(verdict);
      problems.push(...found);
    }),
    ...filesToVerify(content).map((file) => async () => {
      parts.push(await verifyFile(what, file, signal));
    }),
  ];
  const waiting = tasks[Symbol.iterator]();
  const lane = async (): Promise<void> => {
    for (const task of waiting) await task();
  };
  const ended = await Promise.allSettled(Array.from({ length: partsAtOnce }, lane));
  const failed = ended.find((end) => end.status === 'rejected');
  if (failed) throw failed.reason;
  parts.push(...missingParts(content));
  parts.sort((a, b) => (a.file < b.file ? -1 : 1));
  const states = parts.map(({ state }) => state);
  const state = problems.length > 0 ? 'damaged' : states.length === 0 ? 'unchecked' : worst(states);
  return { guest, backup, state, parts, problems, dependents };
}

/** A file that is no disk, and its checksums where there are some. */
interface FileToVerify {
  readonly part: BackupPart;
  readonly sums: string | undefined;
}

function filesToVerify({ parts, disks, description }: BackupContent): FileToVerify[] {
  const names = new Set(parts.map(({ path }) => nameToText(path)));
  const ofDisks = new Set(disks.flatMap((disk) => [nameToText(disk.path), sumsOfDisk(disk, description)]));
  return parts.flatMap((part): FileToVerify[] => {
    const name = nameToText(part.path);
    if (withoutSums.includes(name) || ofDisks.has(name)) return [];
    // Of a folder's content there are no checksums; `disks/` is looked into already.
    if (part.type === 'directory') return name === 'disks' ? [] : [{ part, sums: undefined }];
    if (name.endsWith('.sums')) return [];
    const sums = `${name}.sums`;
    const isDeclared = description?.archive?.file === name && description.archive.sums !== undefined;
    return [{ part, sums: names.has(sums) || isDeclared ? sums : undefined }];
  });
}

/** What is spoken of and is not there. Missing disks are told by themselves. */
function missingParts({ parts, disks, description }: BackupContent): PartVerdict[] {
  const names = new Set(parts.map(({ path }) => nameToText(path)));
  const ofDisks = new Set(disks.map((disk) => sumsOfDisk(disk, description)));
  const summed = [...names].filter((name) => name.endsWith('.sums') && !ofDisks.has(name));
  const spokenOf = new Set(summed.map((name) => name.slice(0, -'.sums'.length)));
  const archive = description?.archive?.file;
  if (archive !== undefined) spokenOf.add(archive);
  return [...spokenOf].filter((name) => !names.has(name)).map((name) => broken(name, 0, 'it is missing'));
}

async function verifyFile(
  { store, guest, backup, progress }: BackupToVerify,
  { part, sums }: FileToVerify,
  signal: AbortSignal,
): Promise<PartVerdict> {
  const name = nameToText(part.path);
  const bytes = part.stat?.size ?? 0;
  if (part.type !== 'file')
    return sums === undefined && part.type === 'directory'
      ? unchecked(`${name}/`, 0, 'a folder has no checksums')
      : broken(name, 0, describePart(part));
  if (sums === undefined) return unchecked(name, bytes, 'there are no checksums of it');
  const open = (): Promise<Disk> => openRawImage(store, nameFromText(`${guest}/${backup}/${name}`), signal);
  const from = join(store.path, guest, backup, sums);
  return compared({ file: name, bytes, backup, open, sums: from, progress }, signal).then(
    ({ verdict }) => verdict,
  );
}

/** A disk: its image with all that it is based on, and what is said of it. */
class DiskVerification {
  readonly #file: string;
  readonly #problems: string[] = [];

  constructor(
    private readonly what: BackupToVerify,
    private readonly content: BackupContent,
    private readonly disk: DiskPart,
  ) {
    this.#file = nameToText(disk.path);
  }

  async run(signal: AbortSignal): Promise<{ verdict: PartVerdict; problems: readonly string[] }> {
    const { part, format } = this.disk;
    const bytes = part?.stat?.size ?? 0;
    // Missing, or no file: a problem of the backup's already.
    if (part?.type !== 'file' || !part.stat) return this.#ended(broken(this.#file, 0, "it can't be read"));
    const sums = this.#sums();
    if (format !== 'qcow2' && format !== 'raw')
      return this.#ended(unchecked(this.#file, bytes, 'there are no checksums of it'));
    let below: string | undefined;
    if (format === 'qcow2') {
      const chain = await chainProblems(this.what, this.disk, this.content.description, signal);
      this.#problems.push(...chain.problems);
      below = chain.basis && `${chain.basis.backup}/${chain.basis.file}`;
    }
    if (sums === undefined) return this.#ended(await this.#walk(bytes, signal));
    const { guest, backup, store, verified, progress } = this.what;
    const parent = below === undefined ? undefined : verified.get(below);
    const { verdict, damage } = await compared(
      {
        file: this.#file,
        bytes,
        backup,
        open: () => this.#open(signal),
        sums: join(store.path, guest, backup, sums),
        ...(parent && { parent }),
        progress,
      },
      signal,
    );
    if (damage)
      verified.set(`${backup}/${this.#file}`, { sums: join(store.path, guest, backup, sums), damage });
    return this.#ended(verdict);
  }

  #sums(): string | undefined {
    const sums = sumsOfDisk(this.disk, this.content.description);
    const isThere = this.content.parts.some(({ path }) => nameToText(path) === sums);
    const isDeclared = this.content.description?.disks?.[nameToText(this.disk.name)]?.sums !== undefined;
    return isThere || isDeclared ? sums : undefined;
  }

  #open(signal: AbortSignal): Promise<Disk> {
    const { store, guest, backup } = this.what;
    const path = nameFromText(`${guest}/${backup}/${this.#file}`);
    return this.disk.format === 'raw'
      ? openRawImage(store, path, signal)
      : openQcow2Image(store, path, signal);
  }

  /** Without checksums only what an image says of itself can be looked at. */
  async #walk(bytes: number, signal: AbortSignal): Promise<PartVerdict> {
    let disk: Disk | undefined;
    try {
      disk = await this.#open(signal);
      for (let at = 0; at < disk.size; ) {
        const last = (await disk.extents(at, disk.size - at, signal)).at(-1);
        at = last ? last.offset + last.length : disk.size;
      }
      return unchecked(this.#file, disk.size, 'there are no checksums of it; its tables can be read');
    } catch (error) {
      signal.throwIfAborted();
      return broken(this.#file, disk?.size ?? bytes, messageOf(error));
    } finally {
      await disk?.close();
    }
  }

  #ended(verdict: PartVerdict): { verdict: PartVerdict; problems: readonly string[] } {
    return { verdict, problems: this.#problems };
  }
}

/** The name of a disk's checksums: as `backup.json` says, else that of the disk. */
function sumsOfDisk({ name, path }: DiskPart, description: BackupDescription | undefined): string {
  const folder = path.startsWith('disks/') ? 'disks/' : '';
  return description?.disks?.[nameToText(name)]?.sums ?? `${folder}${nameToText(name)}.sums`;
}

interface PartToCompare {
  readonly file: string;
  /** The file's size, until more is known. */
  readonly bytes: number;
  readonly backup: string;
  readonly open: () => Promise<Disk>;
  /** The path of the checksums. */
  readonly sums: string;
  readonly parent?: { readonly sums: string; readonly damage: Damage };
  readonly progress: (progress: PartProgress) => void;
}

/** Compares a part with its checksums. No `damage`: it could not be compared at all. */
async function compared(
  { file, bytes, backup, open, sums: sumsPath, parent, progress }: PartToCompare,
  signal: AbortSignal,
): Promise<{ verdict: PartVerdict; damage?: Damage }> {
  let sums: SumsFile | undefined;
  let disk: Disk | undefined;
  let below: VerifiedParent | undefined;
  try {
    sums = await SumsFile.open(sumsPath, signal);
    disk = await open();
    const { size } = disk;
    if (sums.sizeBytes !== size)
      throw new StillError('EIO', `it has ${size} bytes, and checksums of ${sums.sizeBytes}`);
    if (parent) below = { sums: await SumsFile.open(parent.sums, signal), damage: parent.damage };
    let done = 0;
    progress({ part: file, done, total: size });
    const damage = await compareWithSums(
      {
        disk,
        sums,
        backup,
        ...(below && { parent: below }),
        progress: (more) => {
          done += more;
          progress({ part: file, done, total: size });
        },
      },
      signal,
    );
    const ranges = damage.runs.slice(0, mostRanges).map((run) => ({
      ...byteRange(run, size),
      why: run.why,
      from: run.from ?? null,
    }));
    const damagedBytes = damage.bytes(size);
    const state = damage.blocks > 0 ? 'damaged' : 'fine';
    return { verdict: { file, state, bytes: size, damagedBytes, damage: ranges }, damage };
  } catch (error) {
    signal.throwIfAborted();
    return { verdict: broken(file, disk?.size ?? bytes, messageOf(error)) };
  } finally {
    await below?.sums.close();
    await disk?.close();
    await sums?.close();
  }
}

/** What can't be compared is lost as a whole. */
function broken(file: string, bytes: number, reason: string): PartVerdict {
  return { file, state: 'damaged', bytes, damagedBytes: bytes, damage: [], reason };
}

function unchecked(file: string, bytes: number, reason: string): PartVerdict {
  return { file, state: 'unchecked', bytes, damagedBytes: 0, damage: [], reason };
}
