import type { ArchiveFormat } from '../../archives/archive-format.js';
import type { ArchiveHost } from '../../archives/hosted/archive-host.js';
import { openRawImage } from '../../disks/raw/raw-image.js';
import type { StoreFolder } from '../../disks/store-folder.js';
import { StillError } from '../../errors.js';
import type { Logger } from '../../log.js';
import { type Name, nameToText } from '../../name.js';
import type { Tree } from '../../tree/tree.js';
import { type StoredStat, statBeneath } from './stored-entry.js';

/** An archive of a store. */
export interface StoredArchive {
  readonly folder: StoreFolder;
  /** Within the store. */
  readonly path: Name;
  readonly format: ArchiveFormat;
  /** What the file was when the backup was looked at. */
  readonly stat: StoredStat;
  readonly archives: ArchiveHost;
  readonly log: Logger;
}

/** The time until progress is told first, and then between two tellings, milliseconds. */
const progressAfter = 2000;
const progressInterval = 10_000;

/** Opens an archive of a store as a tree, in a worker of its own. */
export async function openStoredArchive(
  { folder, path, format, stat, archives, log }: StoredArchive,
  signal: AbortSignal,
  problem: (sentence: string) => void,
): Promise<Tree> {
  const name = `${folder.path}/${nameToText(path)}`;
  const disk = await openRawImage(folder, path, signal);
  try {
    const { identity } = await statBeneath(folder, path, signal);
    if (identity !== stat.identity)
      throw new StillError('ESTALE', `${name} has changed since the backup was looked at; look again`);
  } catch (error) {
    await disk.close();
    throw error;
  }
  let done = 0;
  let told = false;
  const begun = performance.now();
  const tell = (): void => {
    told = true;
    const percent = Math.floor((done / Math.max(1, stat.size)) * 100);
    log.info({ archive: name, bytes: done, size: stat.size }, `reading through an archive: ${percent} %`);
    timer = setTimeout(tell, progressInterval);
  };
  let timer = setTimeout(tell, progressAfter);
  const progress = (bytes: number): void => {
    done = bytes;
  };
  try {
    const identified = `${name} ${stat.identity}`;
    const options = { format, name, identity: identified, problem, progress };
    const tree = await archives.open(disk, options, signal);
    const seconds = Math.round((performance.now() - begun) / 100) / 10;
    if (told) log.info({ archive: name, seconds }, 'the archive can be listed now');
    return tree;
  } finally {
    clearTimeout(timer);
  }
}
