import type { Disk } from '../../disks/disk.js';
import type { Tree } from '../../tree/tree.js';
import type { ArchiveBytes } from '../tar/archive-bytes.js';
import type { KeptIndex } from '../tar/index-file.js';
import { TarIndex } from '../tar/tar-index.js';
import { TarTree } from '../tar/tar-tree.js';
import { CacheFolder } from './cache-folder.js';
import { type CachePlace, temporaryPlace } from './cache-place.js';
import { Chunks } from './chunks.js';
import type { Compression } from './compression.js';
import { DecompressedArchive } from './decompressed-archive.js';
import { type IndexOptions, tarIndex } from './tar-index.js';

/** An archive that was opened. */
export interface OpenedTar {
  readonly tree: Tree;
  /** What is wrong with the archive, one sentence for each thing. */
  readonly problems: readonly string[];
}

/** How much is kept where nothing was said, in bytes. */
const defaultCacheBytes = 16 * 2 ** 30;

/**
 * How an archive's index is had. `place`: where it is kept, and for a compressed archive what was decompressed. The archive is
 * read through `archive` and stays the caller's.
 */
export type IndexOf = (archive: Disk, place: CachePlace | undefined) => Promise<KeptIndex>;

/**
 * Opens a tar archive as a tree, and takes the archive over: the tree closes it, or a failure does. Nothing is unpacked as a whole;
 * one pass over the headers makes an index, or the one that was kept is read. The first opening of a compressed archive decompresses all of
 * it once and keeps what passes as far as there is room; what has gone from there is decompressed again when it is read.
 */
export async function openTar(
  archive: Disk,
  compression: Compression,
  kept: CachePlace | undefined,
  indexOf: IndexOf,
): Promise<OpenedTar> {
  let remove = async (): Promise<void> => undefined;
  try {
    let place = kept;
    // Without a place each read of a compressed archive would decompress it anew.
    if (!place && compression !== 'none') ({ place, remove } = await temporaryPlace(defaultCacheBytes));
    const index = await indexOf(archive, place);
    const content =
      place && compression !== 'none' ? decompressed(archive, compression, place, index) : archive;
    const tree = new TarTree(closingWith(content, remove), new TarIndex(index));
    return { tree, problems: index.problems };
  } catch (error) {
    await archive.close();
    await remove();
    throw error;
  }
}

/** Opens a tar archive in this thread. */
export function openTarHere(
  archive: Disk,
  compression: Compression,
  place: CachePlace | undefined,
  options: IndexOptions,
): Promise<OpenedTar> {
  return openTar(archive, compression, place, (bytes, own) => tarIndex(bytes, compression, own, options));
}

function decompressed(
  archive: Disk,
  compression: Exclude<Compression, 'none'>,
  place: CachePlace,
  index: KeptIndex,
): ArchiveBytes {
  const chunks = new Chunks(new CacheFolder(place.folder, place.mostBytes), place.identity);
  return new DecompressedArchive(archive, compression, chunks, index.archiveBytes);
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
