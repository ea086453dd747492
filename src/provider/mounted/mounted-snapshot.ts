import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { codeOf, hasCode, StillError } from '../../errors.js';
import { isEntryName, nameFromText } from '../../name.js';
import { whyRefused } from './refusal.js';

/** How often a snapshot is tried again while the guest has another open, in milliseconds. */
const retryMilliseconds = 500;

const diskName = z
  .string()
  .refine((text) => isEntryName(nameFromText(text)) && !text.startsWith('.'), { error: 'is no name' });

const shape = z.looseObject({
  id: z.string().min(1),
  guest: z.string(),
  type: z.enum(['qemu', 'lxc']),
  chain: z.string().nullable(),
  time: z.iso.datetime(),
  readable: z.enum(['all', 'dirty']).optional(),
  disks: z
    .array(
      z.looseObject({
        name: diskName,
        size: z.int().nonnegative(),
        mode: z.enum(['none', 'new', 'reuse']),
        base: z.string().nullable(),
        dirty: z.int().nonnegative(),
        reason: z.string().optional(),
      }),
    )
    .default([]),
  /** Of a container: the file systems that it shows, its root first. */
  mountPoints: z.array(z.looseObject({ path: z.string().startsWith('/') })).default([]),
  /** Of a container that was taken without a snapshot: why it has no instant. */
  live: z.string().optional(),
  omitted: z
    .array(z.looseObject({ name: z.string().optional(), path: z.string().optional(), reason: z.string() }))
    .default([]),
});

/** What a snapshot says of itself (`snapshot.json`), as far as a provider uses it. */
export type SnapshotFacts = z.output<typeof shape>;
export type SnapshotDiskFacts = SnapshotFacts['disks'][number];

/** The folder of a guest's snapshots in a mount. */
export function snapshotsFolder(mount: string, guest: string): string {
  return join(mount, 'guests', guest, 'snapshots');
}

/** A snapshot that was taken in a mount by `mkdir`: all of it goes through files. */
export class MountedSnapshot {
  private constructor(
    /** Its folder in the mount. */
    readonly folder: string,
    readonly facts: SnapshotFacts,
  ) {}

  /**
   * Takes a snapshot; while the guest has another open it is tried again for so many seconds. EBUSY, or what the mount
   * refuses it with. `mkdir` is not given up half-way: the mount bounds it.
   */
  static async take(
    mount: string,
    guest: string,
    name: string,
    waitSeconds: number,
    signal: AbortSignal,
  ): Promise<MountedSnapshot> {
    const folder = join(snapshotsFolder(mount, guest), name);
    const deadline = Date.now() + waitSeconds * 1000;
    for (;;) {
      signal.throwIfAborted();
      try {
        await mkdir(folder);
        break;
      } catch (error) {
        if (hasCode(error, 'EBUSY') && Date.now() < deadline) {
          await delay(retryMilliseconds, undefined, { signal });
          continue;
        }
        const what = `no snapshot ${name} of guest ${guest} was taken: ${whyRefused(error)}`;
        throw new StillError(codeOf(error), `${what} (the log of the mount says more)`);
      }
    }
    try {
      return new MountedSnapshot(folder, await readFacts(folder));
    } catch (error) {
      await rmdir(folder);
      throw error;
    }
  }

  /** `chain@name`, or a plain name. */
  get name(): string {
    return basename(this.folder);
  }

  /** A file in the snapshot's folder. */
  path(...names: string[]): string {
    return join(this.folder, ...names);
  }

  /** Says that all is safely backed up; returns when that is recorded. EIO: the snapshot has broken meanwhile. */
  async succeed(): Promise<void> {
    await writeFile(this.path('outcome'), 'success\n');
  }

  /** Ends the snapshot, by what was said of it: without a word it is a failure, by which nothing that changed is forgotten. */
  async end(): Promise<void> {
    await rmdir(this.folder);
  }
}

/** Whether a failure means that a snapshot is there no more: its mount has gone, and it ended with that, or is another one by now. */
export function isGone(error: unknown): boolean {
  return (['ENOENT', 'ENOTDIR', 'ENOTCONN', 'ECONNABORTED'] as const).some((code) => hasCode(error, code));
}

/** What the snapshot in a folder says of itself. EIO: it is not understood. */
export async function readFacts(folder: string): Promise<SnapshotFacts> {
  const path = join(folder, 'snapshot.json');
  const parsed = shape.safeParse(JSON.parse(await readFile(path, 'utf8')));
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
  throw new StillError('EIO', `${path} is not understood: ${faults.slice(0, 3).join('; ')}`);
}
