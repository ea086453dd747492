import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { z } from 'zod';
import { readIfThere, removeDurably, writeDurably } from '../../durable-file.js';
import { messageOf, StillError } from '../../errors.js';

const suffix = '.snapshot.json';

/** A snapshot's record in its guest's state folder, and beside it what was said of its outcome. */
export class RecordFile<Snapshot extends { readonly id: string }> {
  readonly #path: string;
  readonly #outcomePath: string;
  readonly #schema: z.ZodType<Snapshot>;

  constructor(
    readonly folder: string,
    readonly id: string,
    schema: z.ZodType<Snapshot>,
  ) {
    this.#path = join(folder, `${id}${suffix}`);
    this.#outcomePath = join(folder, `${id}.outcome`);
    this.#schema = schema;
  }

  write(record: Snapshot): Promise<void> {
    return writeDurably(this.#path, `${JSON.stringify(record, undefined, 2)}\n`);
  }

  async read(): Promise<Snapshot | undefined> {
    const text = await readIfThere(this.#path);
    if (text === undefined) return undefined;
    try {
      return this.#schema.parse(JSON.parse(text));
    } catch (error) {
      throw new StillError(
        'EIO',
        `${this.#path} is no record of a snapshot that this version understands; what it tells of may be left: ${messageOf(error)}`,
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
