import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, messageOf, StillError } from '../../../errors.js';
import { type SnapshotRecord, snapshotRecord } from '../snapshot-record.js';
import { readIfThere, removeDurably, writeDurably } from './durable-file.js';

const suffix = '.snapshot.json';

/** A snapshot's record in its guest's state folder, and beside it what was said of its outcome. */
export class SnapshotFile {
  readonly #path: string;
  readonly #outcomePath: string;

  constructor(
    readonly folder: string,
    readonly id: string,
  ) {
    this.#path = join(folder, `${id}${suffix}`);
    this.#outcomePath = join(folder, `${id}.outcome`);
  }

  write(record: SnapshotRecord): Promise<void> {
    return writeDurably(this.#path, `${JSON.stringify(record, undefined, 2)}\n`);
  }

  async read(): Promise<SnapshotRecord | undefined> {
    const text = await readIfThere(this.#path);
    if (text === undefined) return undefined;
    try {
      return snapshotRecord.parse(JSON.parse(text));
    } catch (error) {
      throw new StillError(
        'EIO',
        `${this.#path} is no record of a snapshot that this version understands; what it tells of may be left in QEMU: ${messageOf(error)}`,
        { cause: error },
      );
    }
  }

  writeOutcome(outcome: 'success' | 'failure'): Promise<void> {
    return writeDurably(this.#outcomePath, `${outcome}\n`);
  }

  /** What was said; nothing said counts as a failure. */
  async readOutcome(): Promise<'success' | 'failure'> {
    const text = await readIfThere(this.#outcomePath);
    return text?.trim() === 'success' ? 'success' : 'failure';
  }

  /** The record goes last: as long as it is there, somebody has to mend something. */
  async remove(): Promise<void> {
    const outcome = await readIfThere(this.#outcomePath);
    await removeDurably(this.#path);
    if (outcome !== undefined) await removeDurably(this.#outcomePath);
  }
}

/** The ids of the snapshots that a guest's state folder has records of. */
export async function recordedSnapshots(folder: string): Promise<string[]> {
  const names = await readdir(folder);
  return names.filter((name) => name.endsWith(suffix)).map((name) => name.slice(0, -suffix.length));
}

/** The records themselves, whoever works on them; none where there is no such folder, or it is somebody else's. */
export async function readRecords(folder: string): Promise<SnapshotRecord[]> {
  try {
    const files = (await recordedSnapshots(folder)).map((id) => new SnapshotFile(folder, id));
    return (await Promise.all(files.map((file) => file.read()))).filter((record) => record !== undefined);
  } catch (error) {
    if (hasCode(error, 'ENOENT') || hasCode(error, 'EACCES')) return [];
    throw error;
  }
}

/** Removes what a daemon that was killed has left in a guest's state folder beside records: nobody else may be at work there. */
export async function removeStrays(folder: string): Promise<void> {
  const recorded = await recordedSnapshots(folder);
  for (const name of await readdir(folder)) {
    const [, id] = /^(?:off-)?([0-9a-f]{8})[0-9a-f]*\.(?:sock|outcome)$/.exec(name) ?? [];
    const belongs = id !== undefined && recorded.some((other) => other.startsWith(id));
    if (name.endsWith('.new') || (id !== undefined && !belongs))
      await rm(join(folder, name), { force: true });
  }
}
