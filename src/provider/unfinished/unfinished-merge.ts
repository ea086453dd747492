import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { readIfThere, syncFolder, writeDurably } from '../../durable-file.js';
import { hasCode } from '../../errors.js';
import type { Narration } from '../job/narration.js';

const folderPattern = /^\.merge-[0-9a-f]{12}$/;
const beginFile = 'merge.json';
/** While it is there all files of the merge are whole, verified and on the disk: they are put into their places, whatever happens. */
const commitFile = 'commit.json';

const beginShape = z.object({
  version: z.literal(1),
  /** The folder for sockets, outside the store. */
  sockets: z.string().regex(/\/stillfs-merge-[0-9a-f]{12}$/),
});
const ownName = z.string().regex(/^[^/.][^/]*$/);
const commitShape = z.object({
  version: z.literal(1),
  /** The backup that the files are of. */
  backup: ownName,
  /** In the order in which they are put into their places. */
  files: z.array(ownName),
});

/**
 * Images that will take the places of a backup's. They come to be in a folder beside the backups, at the same depth, so that a backing file's
 * relative path holds in both places. Up to `commit` it can be removed; from then on it is finished, by whoever has the
 * guest's lock next.
 */
export class UnfinishedMerge {
  private constructor(
    readonly guestFolder: string,
    private readonly name: string,
    /** A folder for sockets, of its owner alone. */
    readonly sockets: string,
  ) {}

  static async begin(guestFolder: string): Promise<UnfinishedMerge> {
    const random = randomBytes(6).toString('hex');
    const sockets = join(tmpdir(), `stillfs-merge-${random}`);
    const merge = new UnfinishedMerge(guestFolder, `.merge-${random}`, sockets);
    try {
      await mkdir(merge.folder, { mode: 0o700 });
      const begun: z.output<typeof beginShape> = { version: 1, sockets };
      await writeDurably(join(merge.folder, beginFile), `${JSON.stringify(begun)}\n`);
      await mkdir(sockets, { mode: 0o700 });
      return merge;
    } catch (error) {
      await merge.end();
      throw error;
    }
  }

  get folder(): string {
    return join(this.guestFolder, this.name);
  }

  /** Puts files, whole and on the disk, into a backup in place of those that are there. */
  async commit(backup: string, files: readonly string[]): Promise<void> {
    const commit: z.output<typeof commitShape> = { version: 1, backup, files: [...files] };
    // The folder in the store goes last, for it alone tells of this one.
    await rm(this.sockets, { recursive: true, force: true });
    await writeDurably(join(this.folder, commitFile), `${JSON.stringify(commit)}\n`);
    await finish(this.guestFolder, this.name, commit);
  }

  /** Lets go: nothing is left but what was committed and could not be finished. */
  async end(): Promise<void> {
    await rm(this.sockets, { recursive: true, force: true });
    if ((await readIfThere(join(this.folder, commitFile))) === undefined)
      await rm(this.folder, { recursive: true, force: true });
  }
}

/**
 * Finishes merges that were committed, and removes those that were not. Only for who has the guest's lock exclusively.
 */
export async function settleMerges(guestFolder: string, log: Narration): Promise<void> {
  for (const name of (await readdir(guestFolder)).filter((each) => folderPattern.test(each))) {
    const folder = join(guestFolder, name);
    const commit = commitShape.safeParse(await jsonAt(join(folder, commitFile)));
    const begun = beginShape.safeParse(await jsonAt(join(folder, beginFile)));
    if (begun.success) await rm(begun.data.sockets, { recursive: true, force: true });
    if (commit.success) {
      await finish(guestFolder, name, commit.data);
      log.info({ folder }, `finished an interrupted merge into ${commit.data.backup}`);
    } else {
      await rm(folder, { recursive: true, force: true });
      await syncFolder(guestFolder);
      log.info({ folder }, 'removed what an interrupted merge had left');
    }
  }
}

/** Renames a merge's files into their places; those that are there already are left alone. */
async function finish(
  guestFolder: string,
  name: string,
  { backup, files }: z.output<typeof commitShape>,
): Promise<void> {
  const folder = join(guestFolder, name);
  for (const file of files) {
    try {
      await rename(join(folder, file), join(guestFolder, backup, file));
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error;
    }
  }
  await syncFolder(join(guestFolder, backup));
  // First what says that there is something to finish.
  await rm(join(folder, commitFile), { force: true });
  await rm(folder, { recursive: true, force: true });
  await syncFolder(guestFolder);
}

async function jsonAt(path: string): Promise<unknown> {
  const text = await readIfThere(path);
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
