import { close, constants } from 'node:fs';
import { chown, open } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ArchiveFormat } from '../../../archives/archive-format.js';
import type { Compression } from '../../../archives/compressed/compression.js';
import { openRawImage } from '../../../disks/raw/raw-image.js';
import type { StoreFolder } from '../../../disks/store-folder.js';
import { StillError } from '../../../errors.js';
import { type IdMap, unmappedId } from '../../../id-map.js';
import { type Name, nameToText } from '../../../name.js';
import { type IdMappedFolder, idMappedFolder } from '../../../posix/id-mapped-mount.js';
import { O_PATH } from '../../../posix/openat2.js';
import { inFolder } from '../../../stores/directory/stored-entry.js';
import { RunningProgram } from '../../container/running-program.js';
import type { Bandwidth } from '../../job/bandwidth.js';
import type { PartProgress } from '../../job/part-progress.js';
import { blockCount, lengthOfBlock } from '../../sums/sums-format.js';
import type { Damage } from '../damage.js';
import { VerifiedDisk } from '../disks/verified-disk.js';
import type { StoredContent } from '../stored-content.js';
import { openSums } from '../stored-sums.js';
import { folderAsTar } from './folder-as-tar.js';
import { FolderPlace } from './folder-place.js';
import { extractSquashfs } from './squashfs-extraction.js';
import { extractTar } from './tar-extraction.js';

const closeDescriptor = promisify(close);
/** How the part is called in progress and results. */
const part = 'rootfs';

/** How GNU tar is told of a compression. */
const decompression: Readonly<Record<Compression, readonly string[]>> = {
  none: [],
  gzip: ['--gzip'],
  // Windows of up to 128 MiB, as `zstd --long` makes them.
  zstd: ['--use-compress-program=zstd --long=27'],
  xz: ['--xz'],
  bzip2: ['--bzip2'],
  lz4: ['--use-compress-program=lz4'],
};

/** How a container's files get their owners. */
export interface RestoredIds {
  /** How the restored files' ids follow from the container's; undefined: they are the same. */
  readonly target?: IdMap | undefined;
  /** The same of a plain folder in the store. */
  readonly stored?: IdMap | undefined;
}

export interface RootfsWish {
  readonly ids: RestoredIds;
  readonly bandwidth: Bandwidth;
  readonly progress: (progress: PartProgress) => void;
}

/** A container's files in a backup, and the folder that they are restored to. Nothing is written yet. */
export interface RootfsRestore {
  readonly place: FolderPlace;
  /** Writes the files, durably, but for the folder's place. Says whether they were compared with checksums. */
  write(damage: Damage, signal: AbortSignal): Promise<boolean>;
}

/** Finds where a container's files are to be restored to. EINVAL: it can't be told what they are. */
export async function openRootfs(
  store: StoreFolder,
  content: StoredContent,
  { target, overwrite }: { readonly target: string; readonly overwrite: boolean },
  wish: RootfsWish,
): Promise<RootfsRestore | undefined> {
  const { path, format, problems } = content.rootfs;
  if (path === undefined) {
    if (problems.length === 0) return undefined;
    throw new StillError('EINVAL', `${nameToText(content.path)}: ${problems.join('; ')}`);
  }
  const place = await FolderPlace.find(target, overwrite);
  return {
    place,
    write: (damage, signal) =>
      new RootfsWriter(store, content, path, format, wish, damage).write(place, signal),
  };
}

class RootfsWriter {
  constructor(
    private readonly store: StoreFolder,
    private readonly content: StoredContent,
    private readonly file: Name,
    private readonly format: ArchiveFormat | undefined,
    private readonly wish: RootfsWish,
    private readonly damage: Damage,
  ) {}

  async write(place: FolderPlace, signal: AbortSignal): Promise<boolean> {
    await place.begin();
    const mapped = await this.#mapped(place.writing);
    let verified: boolean;
    try {
      const folder = mapped?.path ?? place.writing;
      verified = this.format
        ? await this.#archive(this.format, folder, signal)
        : await this.#folder(folder, signal);
    } finally {
      await mapped?.close();
    }
    await RunningProgram.start('sync', ['--file-system', place.writing]).succeed();
    return verified;
  }

  /** The folder that is written to, seen with the container's ids. */
  async #mapped(folder: string): Promise<IdMappedFolder | undefined> {
    const map = this.wish.ids.target;
    if (!map) return undefined;
    const root = map.find(({ inside }) => inside === 0)?.outside ?? unmappedId;
    await chown(folder, root, root);
    const opened = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      return await idMappedFolder(opened.fd, map, folder);
    } finally {
      await opened.close();
    }
  }

  async #archive(format: ArchiveFormat, folder: string, signal: AbortSignal): Promise<boolean> {
    const { path, description } = this.content;
    const file = nameToText(this.file);
    const image = await openRawImage(this.store, inFolder(path, this.file), signal);
    try {
      const declared = description.archive?.file === file ? description.archive.sums : undefined;
      const backup = join(this.store.path, nameToText(path));
      const sums = await openSums(backup, { file, sizeBytes: image.size, declared }, this.damage, signal);
      try {
        const source = new VerifiedDisk(`${file} of ${nameToText(path)}`, image, sums, this.damage);
        if (format.kind === 'tar') {
          const extracting = extractTar(
            this.#bytesOf(source, signal),
            folder,
            decompression[format.compression],
            signal,
          );
          await this.#judged(extracting, signal);
        } else {
          // It is read here and there: what is damaged is found before.
          if (sums) for await (const _ of this.#bytesOf(source, signal));
          const { passthrough } = image;
          if (passthrough === undefined) throw new RangeError('a raw image is a file');
          await this.#judged(extractSquashfs(passthrough, folder, signal), signal);
        }
        return sums !== undefined;
      } finally {
        await sums?.close();
      }
    } finally {
      await image.close();
    }
  }

  /** A plain folder of the store, which stands in it without links on the way. */
  async #folder(folder: string, signal: AbortSignal): Promise<boolean> {
    const path = inFolder(this.content.path, this.file);
    const descriptor = await this.store.openFile(path, O_PATH | constants.O_DIRECTORY, signal);
    try {
      const { target, stored } = this.wish.ids;
      // Only who wants other ids than those in the store needs the container's own.
      const mapped =
        target && stored ? await idMappedFolder(descriptor, stored, nameToText(path)) : undefined;
      try {
        const source = mapped?.path ?? `/proc/${process.pid}/fd/${descriptor}`;
        await this.#judged(
          extractTar(this.#relayed(folderAsTar(source, signal), signal), folder, [], signal),
          signal,
        );
      } finally {
        await mapped?.close();
      }
    } finally {
      await closeDescriptor(descriptor);
    }
    return false;
  }

  /** What a program could not restore is damage, which may be ignored. */
  async #judged(restoring: Promise<void>, signal: AbortSignal): Promise<void> {
    try {
      await restoring;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof StillError) || error.code !== 'EIO') throw error;
      this.damage.failed(error);
    }
  }

  async *#bytesOf(source: VerifiedDisk, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    const { bandwidth, progress } = this.wish;
    const total = source.sizeBytes;
    let done = 0;
    progress({ part, done, total });
    for (let block = 0; block < blockCount(total); block++) {
      await bandwidth.admit(lengthOfBlock(block, total), signal);
      const bytes = await source.block(block, signal);
      yield bytes;
      done += bytes.length;
      progress({ part, done, total });
    }
  }

  async *#relayed(
    pieces: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    let done = 0;
    for await (const piece of pieces) {
      await this.wish.bandwidth.admit(piece.length, signal);
      yield piece;
      done += piece.length;
      this.wish.progress({ part, done });
    }
  }
}
