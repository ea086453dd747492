import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Disk } from '../../disks/disk.js';
import { Problems } from '../problems.js';
import type { ArchiveBytes } from '../tar/archive-bytes.js';
import { IndexBuilder } from '../tar/index-builder.js';
import type { KeptIndex } from '../tar/index-file.js';
import { MemberScan } from '../tar/member-scan.js';
import {
  defaultCacheBytes,
  defaultIndexBytes,
  keepIndex,
  keptIndex,
  type OpenedTar,
  openTar,
  type TarOptions,
} from '../tar/open-tar.js';
import { TarIndex } from '../tar/tar-index.js';
import { TarTree } from '../tar/tar-tree.js';
import { CacheFolder } from './cache-folder.js';
import { Chunks } from './chunks.js';
import type { Compression } from './compression.js';
import { decompress } from './decompress.js';
import { DecompressedArchive } from './decompressed-archive.js';
import { DecompressedWindows } from './decompressed-windows.js';

/**
 * Opens a tar archive, compressed or not, as `openTar` does. The first opening decompresses all of it once, for the
 * index, and keeps what passes in the cache folder, as far as its limit goes; reading finds it there. What has gone
 * from the cache is decompressed again. EOPNOTSUPP: the program that decompresses is missing.
 */
export async function openCompressedTar(
  archive: Disk,
  compression: Compression,
  options: TarOptions,
): Promise<OpenedTar> {
  if (compression === 'none') return openTar(archive, options);
  const { signal, mostCacheBytes = defaultCacheBytes } = options;
  const place = await cachePlace(options);
  try {
    const cache = new CacheFolder(place.folder, mostCacheBytes);
    const name = CacheFolder.nameOf(place.identity, 'index');
    const chunks = new Chunks(cache, place.identity);
    let kept = await keptIndex(cache, name, place.identity, signal);
    if (!kept) {
      kept = await made(archive, compression, chunks, options);
      await keepIndex(cache, name, place.identity, kept, signal);
    }
    const content = new DecompressedArchive(archive, compression, chunks, kept.archiveBytes);
    const tree = new TarTree(closingWith(content, place.remove), new TarIndex(kept));
    return { tree, problems: kept.problems };
  } catch (error) {
    await archive.close();
    await place.remove();
    throw error;
  }
}

async function made(
  archive: Disk,
  compression: Exclude<Compression, 'none'>,
  chunks: Chunks,
  { signal, progress, mostIndexBytes = defaultIndexBytes }: TarOptions,
): Promise<KeptIndex> {
  const problems = new Problems();
  const builder = new IndexBuilder(problems, mostIndexBytes);
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
    return { ...builder.finish(), problems: problems.sentences, archiveBytes, note: null };
  } finally {
    await pieces.return();
  }
}

interface CachePlace {
  readonly folder: string;
  readonly identity: string;
  remove(): Promise<void>;
}

/** Where the archive's chunks are kept; for this opening alone where no cache was given. */
async function cachePlace({ cacheFolder, identity }: TarOptions): Promise<CachePlace> {
  if (cacheFolder !== undefined && identity !== undefined)
    return { folder: cacheFolder, identity, remove: async () => undefined };
  const folder = await mkdtemp(join(tmpdir(), 'stillfs-archive-'));
  return { folder, identity: randomUUID(), remove: () => rm(folder, { recursive: true, force: true }) };
}

function closingWith(content: ArchiveBytes, after: () => Promise<void>): ArchiveBytes {
  return {
    size: content.size,
    read: (offset, target, signal) => content.read(offset, target, signal),
    close: async () => {
      await content.close();
      await after();
    },
  };
}
