import type { Disk } from '../../disks/disk.js';
import type { Tree } from '../../tree/tree.js';
import { CacheFolder } from '../compressed/cache-folder.js';
import { Problems } from '../problems.js';
import type { ArchiveBytes } from './archive-bytes.js';
import { IndexBuilder } from './index-builder.js';
import { type KeptIndex, readIndex, writeIndex } from './index-file.js';
import { MemberScan } from './member-scan.js';
import { TarIndex } from './tar-index.js';
import { TarTree } from './tar-tree.js';
import { RandomWindows } from './windows.js';

export interface TarOptions {
  /** Where indexes are kept between two mounts; without it each opening goes through the archive. */
  readonly cacheFolder?: string;
  /** What the folder may hold, in bytes. */
  readonly mostCacheBytes?: number;
  /** What tells this archive, and this state of it, from all others: path, size, mtime and inode, as text. */
  readonly identity?: string;
  /** What the index may take in memory, in bytes: the files beyond are left out, and that is told. */
  readonly mostIndexBytes?: number;
  /** Called now and then while the archive is gone through, with the bytes of it that are done. */
  readonly progress?: (bytes: number) => void;
  readonly signal: AbortSignal;
}

/** An archive that was opened. */
export interface OpenedTar {
  readonly tree: Tree;
  /** What is wrong with the archive, one sentence for each thing. */
  readonly problems: readonly string[];
}

/** A header and a block of data. */
const smallMember = 1024;

export const defaultCacheBytes = 16 * 2 ** 30;
export const defaultIndexBytes = 2 ** 31;

/**
 * Opens a tar archive as a tree, and takes the archive over: the tree closes it, or a failure does. Nothing is unpacked; one pass over the headers makes an index, or
 * the one that was kept is read. Errors: what reading the archive may meet. One that is damaged is opened all the same,
 * shows what can be read, and tells its problems.
 */
export async function openTar(archive: Disk, options: TarOptions): Promise<OpenedTar> {
  try {
    const kept = await keptOrMade(archive, options);
    const index = new TarIndex(kept);
    return { tree: new TarTree(archive, index), problems: kept.problems };
  } catch (error) {
    await archive.close();
    throw error;
  }
}

async function keptOrMade(archive: Disk, options: TarOptions): Promise<KeptIndex> {
  const { cacheFolder, identity, signal, mostCacheBytes = defaultCacheBytes } = options;
  if (cacheFolder === undefined || identity === undefined) return made(archive, options);
  const cache = new CacheFolder(cacheFolder, mostCacheBytes);
  const name = CacheFolder.nameOf(identity, 'index');
  const kept = await keptIndex(cache, name, identity, signal);
  if (kept) return kept;
  const index = await made(archive, options);
  await keepIndex(cache, name, identity, index, signal);
  return index;
}

/** The index that was kept; undefined: there is none that is good. */
export async function keptIndex(
  cache: CacheFolder,
  name: string,
  identity: string,
  signal: AbortSignal,
): Promise<KeptIndex | undefined> {
  try {
    const kept = await readIndex(cache.pathOf(name), identity, signal);
    if (kept) await cache.touch(name);
    return kept;
  } catch {
    // Whatever is wrong with the cache, the archive itself can be gone through.
    signal.throwIfAborted();
    return undefined;
  }
}

/** Keeps an index if that can be done: without it the next opening takes longer, that is all. */
export async function keepIndex(
  cache: CacheFolder,
  name: string,
  identity: string,
  index: KeptIndex,
  signal: AbortSignal,
): Promise<void> {
  const bytes = Object.values(index.columns).reduce((sum, column) => sum + column.byteLength, 4096);
  try {
    await cache.put(name, bytes, (file) => writeIndex(file, identity, index, signal));
  } catch {
    signal.throwIfAborted();
  }
}

async function made(archive: Disk, options: TarOptions): Promise<KeptIndex> {
  const { signal, progress, mostIndexBytes = defaultIndexBytes } = options;
  const problems = new Problems();
  const builder = new IndexBuilder(problems, mostIndexBytes, archive.size / smallMember);
  const windows = new RandomWindows(withProgress(archive, progress), signal);
  const scan = new MemberScan(windows, builder, problems);
  await scan.run();
  scan.end(archive.size);
  const parts = builder.finish();
  return { ...parts, problems: problems.sentences, archiveBytes: archive.size, note: null };
}

function withProgress(archive: ArchiveBytes, progress: ((bytes: number) => void) | undefined): ArchiveBytes {
  if (!progress) return archive;
  return {
    size: archive.size,
    read: async (offset, target, signal) => {
      await archive.read(offset, target, signal);
      progress(offset + target.length);
    },
    close: () => archive.close(),
  };
}
