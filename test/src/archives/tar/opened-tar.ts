import type { Compression } from '../../../../src/archives/compressed/compression.js';
import { type OpenedTar, openTarHere } from '../../../../src/archives/compressed/open-tar.js';
import type { IndexOptions } from '../../../../src/archives/compressed/tar-index.js';
import type { Disk } from '../../../../src/disks/disk.js';

export type { OpenedTar } from '../../../../src/archives/compressed/open-tar.js';

export interface OpenOptions extends Partial<IndexOptions> {
  readonly cacheFolder?: string;
  readonly identity?: string;
  readonly mostCacheBytes?: number;
}

/** Opens a tar archive in this thread; where a cache folder is given, its index is kept there. */
export function openTar(
  archive: Disk,
  { cacheFolder, identity = 'it', mostCacheBytes = 2 ** 30, ...index }: OpenOptions = {},
  compression: Compression = 'none',
): Promise<OpenedTar> {
  const place =
    cacheFolder === undefined ? undefined : { folder: cacheFolder, identity, mostBytes: mostCacheBytes };
  return openTarHere(archive, compression, place, { signal: new AbortController().signal, ...index });
}
