import type { Disk } from '../../disks/disk.js';
import { StillError } from '../../errors.js';
import { Problems } from '../../problems.js';
import type { ArchiveBytes } from '../tar/archive-bytes.js';
import { IndexBuilder } from '../tar/index-builder.js';
import { type KeptIndex, readIndex, writeIndex } from '../tar/index-file.js';
import { MemberScan } from '../tar/member-scan.js';
import { RandomWindows } from '../tar/windows.js';
import { CacheFolder } from './cache-folder.js';
import type { CachePlace } from './cache-place.js';
import { Chunks } from './chunks.js';
import type { Compression } from './compression.js';
import { decompress } from './decompress.js';
import { DecompressedWindows } from './decompressed-windows.js';

export interface IndexOptions {
  /** What the index may take in memory, in bytes: the files beyond are left out, and that is told. */
  readonly mostIndexBytes?: number;
  /** Called now and then while the archive is gone through, with the bytes of it that are done. */
  readonly progress?: (bytes: number) => void;
  readonly signal: AbortSignal;
}

/** A header and a block of data. */
const smallMember = 1024;
const defaultIndexBytes = 2 ** 31;

/**
 * The index of a tar archive: the one that was kept in its place, or one that is made by going through the archive, and
 * kept. What a compressed archive holds is kept on the way, as far as there is room for it. The archive stays the caller's. EOPNOTSUPP: the
 * program that decompresses is missing. A damaged archive has an index all the same, which tells its problems.
 */
export async function tarIndex(
  archive: Disk,
  compression: Compression,
  place: CachePlace | undefined,
  options: IndexOptions,
): Promise<KeptIndex> {
  if (!place) {
    if (compression === 'none') return plainIndex(archive, options);
    throw new StillError('EINVAL', 'a compressed archive needs a place for what is decompressed');
  }
  const { signal } = options;
  const cache = new CacheFolder(place.folder, place.mostBytes);
  const name = CacheFolder.nameOf(place.identity, 'index');
  const kept = await keptIndex(cache, name, place.identity, signal);
  if (kept) return kept;
  const index =
    compression === 'none'
      ? await plainIndex(archive, options)
      : await packedIndex(archive, compression, place, options);
  await keepIndex(cache, name, place.identity, index, signal);
  return index;
}

/** The index that was kept; undefined: there is none that is good. */
async function keptIndex(
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
async function keepIndex(
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

async function plainIndex(archive: Disk, options: IndexOptions): Promise<KeptIndex> {
  const { signal, progress, mostIndexBytes = defaultIndexBytes } = options;
  const problems = new Problems();
  const builder = new IndexBuilder(problems, mostIndexBytes, archive.size / smallMember);
  const windows = new RandomWindows(withProgress(archive, progress), signal);
  const scan = new MemberScan(windows, builder, problems);
  await scan.run();
  scan.end(archive.size);
  const parts = builder.finish();
  return { ...parts, problems: problems.sentences, archiveBytes: archive.size };
}

async function packedIndex(
  archive: Disk,
  compression: Exclude<Compression, 'none'>,
  place: CachePlace,
  { signal, progress, mostIndexBytes = defaultIndexBytes }: IndexOptions,
): Promise<KeptIndex> {
  const problems = new Problems();
  const builder = new IndexBuilder(problems, mostIndexBytes);
  const chunks = new Chunks(new CacheFolder(place.folder, place.mostBytes), place.identity);
  const pieces = decompress(archive, compression, signal, progress);
  try {
    const windows = new DecompressedWindows(pieces, chunks, signal);
    const scan = new MemberScan(windows, builder, problems);
    await scan.run();
    const archiveBytes = await windows.finish();
    scan.end(archiveBytes);
    if (windows.damage !== undefined) {
      problems.add(
        `The archive can't be decompressed beyond byte ${archiveBytes} of what it holds: ${windows.damage}.`,
      );
    }
    return { ...builder.finish(), problems: problems.sentences, archiveBytes };
  } finally {
    await pieces.return();
    chunks.close();
  }
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
