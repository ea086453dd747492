import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Where what belongs to one archive is kept: its index, and what was decompressed of it. */
export interface CachePlace {
  /** The folder of all archives. */
  readonly folder: string;
  /** What the folder may hold, in bytes. */
  readonly mostBytes: number;
  /** What tells this archive, and this state of it, from all others: path, size, times and inode, as text. */
  readonly identity: string;
}

/** A place for one opening alone, where nothing is to be kept for the next. `remove` takes it away. */
export async function temporaryPlace(
  mostBytes: number,
): Promise<{ place: CachePlace; remove: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'stillfs-archive-'));
  return {
    place: { folder, mostBytes, identity: randomUUID() },
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}
