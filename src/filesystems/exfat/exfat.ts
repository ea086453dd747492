import type { Disk } from '../../disks/disk.js';
import { StillError } from '../../errors.js';
import { epoch } from '../../time.js';
import type { Attributes, Inode } from '../../tree/attributes.js';
import type { Capacity } from '../../tree/tree.js';
import { CachedReads } from '../cached-reads.js';
import { ClusterChain } from '../cluster-chain.js';
import type { FileNode, FileSystem, FileSystemFacts, FileSystemOptions, Folder } from '../file-system.js';
import { type FileMap, MappedContent } from '../mapped-content.js';
import { NameIndex } from '../name-index.js';
import {
  type ExfatGeometry,
  isRegionWhole,
  parseBootSector,
  regionSectors,
  smallestSector,
} from './boot-region.js';
import { ClusterHeap, firstCluster } from './cluster-heap.js';
import { entryBytes, type FileEntry, parseSet, setBytes } from './entry-set.js';
import { ExfatFolder, type FolderPlace } from './folder.js';
import { ListedFiles } from './listed-files.js';

export { isExfat } from './boot-region.js';

const rootInode = 1n;
/** Linux shows everything as root's, with these permissions. */
const permissions = { usual: 0o755, readOnly: 0o555 } as const;
/** exFAT specification, 7.6.5: a folder has at most so many bytes. */
const mostFolderBytes = 256 * 1024 * 1024;

/**
 * Opens an exFAT file system. It closes the disk; where opening fails, the disk stays the caller's. EIO: it is damaged, or none. EOPNOTSUPP:
 * of a version that is not read.
 *
 * Everything is shown as Linux shows it by default; names are found in exactly the case that they are listed in. A file's number is the place
 * of its entries on the disk.
 */
export async function openExfat(disk: Disk, options: FileSystemOptions): Promise<FileSystem> {
  const cache = new CachedReads(disk, 'the exFAT file system');
  try {
    const geometry = await readGeometry(cache, options);
    if (geometry.totalBytes > disk.size)
      options.problem(
        `The disk is cut short: it has ${disk.size} bytes, and its exFAT file system ${geometry.totalBytes}.`,
      );
    const volume = new ExfatVolume(disk, cache, geometry, options.problem);
    const root = new ExfatFolder(cache, await volume.rootPlace(options.signal), volume);
    const label = await root.label(options.signal);
    return new Exfat(volume, { kind: 'exfat', uuid: geometry.serial, ...(label !== undefined && { label }) });
  } catch (error) {
    cache.clear();
    throw error;
  }
}

/** What the boot region tells, or the one behind it, where its checksum is wrong. */
async function readGeometry(
  cache: CachedReads,
  { signal, problem }: FileSystemOptions,
): Promise<ExfatGeometry> {
  const first = parseBootSector(await cache.bytes(0, Math.min(smallestSector, cache.size), signal));
  const { sectorBytes } = first;
  const regionBytes = regionSectors * sectorBytes;
  const region = await cache.bytes(0, regionBytes, signal);
  if (isRegionWhole(region, sectorBytes)) return first;
  const second = await cache.bytes(regionBytes, regionBytes, signal);
  if (!isRegionWhole(second, sectorBytes))
    throw new StillError('EIO', 'the checksums of both boot regions of the exFAT file system are wrong');
  problem('The checksum of the exFAT boot region is wrong; the second one is taken.');
  return parseBootSector(second);
}

/** What all files of a file system share. */
class ExfatVolume {
  readonly names = new NameIndex();
  readonly listed = new ListedFiles();
  readonly heap: ClusterHeap;
  #root: FolderPlace | undefined;

  constructor(
    readonly disk: Disk,
    readonly cache: CachedReads,
    readonly geometry: ExfatGeometry,
    readonly problem: (sentence: string) => void,
  ) {
    this.heap = new ClusterHeap(cache, geometry);
  }

  async rootPlace(signal: AbortSignal): Promise<FolderPlace> {
    this.#root ??= await this.#makeRoot(signal);
    return this.#root;
  }

  /** Where the bytes of a file or folder lie. */
  mapOf({ firstCluster: cluster, isContiguous, size }: FileEntry, name: string): FileMap {
    if (!isContiguous) {
      const chain = new ClusterChain(this.heap, cluster, name);
      return (offset, length, signal) => chain.map(offset, length, signal);
    }
    const length = Number(size);
    return async () => {
      const place = this.heap.placeOf(cluster);
      this.heap.placeOf(cluster + Math.max(1, Math.ceil(length / this.geometry.clusterBytes)) - 1);
      return [{ offset: 0, length, place }];
    };
  }

  async #makeRoot(signal: AbortSignal): Promise<FolderPlace> {
    const { clusterBytes, rootCluster } = this.geometry;
    const chain = new ClusterChain(this.heap, rootCluster, 'the root folder');
    const clusters = await chain.count(Math.ceil(mostFolderBytes / clusterBytes), signal);
    return {
      map: (offset, length, until) => chain.map(offset, length, until),
      size: clusters * clusterBytes,
    };
  }
}

class Exfat implements FileSystem {
  readonly root: Inode = rootInode;

  constructor(
    private readonly volume: ExfatVolume,
    readonly facts: FileSystemFacts,
  ) {}

  async node(inode: Inode, signal: AbortSignal): Promise<FileNode> {
    if (inode === rootInode) {
      const times = { modified: epoch, changed: epoch, accessed: epoch };
      return this.#folder(inode, await this.volume.rootPlace(signal), times, signal);
    }
    const entry = this.volume.listed.get(inode) ?? (await this.#entry(inode, signal));
    const { clusterBytes, clusterCount } = this.volume.geometry;
    if (entry.size > BigInt(clusterBytes) * BigInt(clusterCount))
      throw new StillError(
        'EIO',
        `file ${inode} is damaged: it has ${entry.size} bytes, more than the file system`,
      );
    const size = Number(entry.size);
    const { accessed, modified } = entry;
    // Linux has no other time to show; the one that exFAT has beside these is that of the file's creation.
    const times = { accessed, modified, changed: modified };
    if (!entry.isFolder) return this.#file(inode, entry, size, times);
    if (size > mostFolderBytes)
      throw new StillError('EIO', `folder ${inode} is damaged: it has ${size} bytes`);
    return this.#folder(inode, { map: this.volume.mapOf(entry, `folder ${inode}`), size }, times, signal);
  }

  /** An entry lies in its folder, which has to be read. */
  attributesNow(): undefined {
    return undefined;
  }

  /** What is free is told by nothing but a bit for each cluster, which nobody needs to have counted. */
  capacity(): Capacity {
    const { clusterBytes, clusterCount } = this.volume.geometry;
    return { total: clusterBytes * clusterCount, free: 0, files: 0 };
  }

  async close(): Promise<void> {
    const { cache, disk, names } = this.volume;
    names.clear();
    cache.clear();
    await disk.close();
  }

  /** The set of entries that begins in a place. */
  async #entry(inode: Inode, signal: AbortSignal): Promise<FileEntry> {
    const { cache, heap } = this.volume;
    const { heapOffset, clusterBytes, totalBytes } = this.volume.geometry;
    const at = inode < 2n ** 48n ? Number(inode) * entryBytes : 0;
    const gone = (): StillError => new StillError('ESTALE', `the exFAT file system has no file ${inode}`);
    if (at < heapOffset || at + entryBytes > Math.min(totalBytes, cache.size)) throw gone();
    const length = setBytes(await this.#bytes(at, entryBytes, signal));
    if (length === undefined) throw gone();
    const cluster = Math.floor((at - heapOffset) / clusterBytes) + firstCluster;
    const here = Math.min(length, heap.placeOf(cluster) + clusterBytes - at);
    if (at + length <= cache.size) {
      const entry = parseSet(await this.#bytes(at, length, signal));
      if (entry) return entry;
    }
    if (here === length) throw gone();
    // The set goes on in the folder's next cluster, which need not be the next one on the disk.
    const next = await heap.next(cluster, signal);
    if (next === undefined) throw gone();
    const parts = [
      await this.#bytes(at, here, signal),
      await this.#bytes(heap.placeOf(next), length - here, signal),
    ];
    const entry = parseSet(Buffer.concat(parts));
    if (entry) return entry;
    throw gone();
  }

  async #bytes(at: number, length: number, signal: AbortSignal): Promise<Buffer> {
    const { cache } = this.volume;
    return cache.now(at, length) ?? (await cache.bytes(at, length, signal));
  }

  #file(inode: Inode, entry: FileEntry, size: number, times: Times): FileNode {
    const { disk, cache } = this.volume;
    const shown = { ...times, permissions: entry.isReadOnly ? permissions.readOnly : permissions.usual };
    return {
      type: 'file',
      attributes: this.#attributes(inode, 'file', size, 1, shown),
      content: async () => {
        const map = this.volume.mapOf(entry, `file ${inode}`);
        return new MappedContent(disk, cache, writtenPart(map, Number(entry.validSize), size));
      },
    };
  }

  async #folder(inode: Inode, place: FolderPlace, times: Times, signal: AbortSignal): Promise<Folder> {
    const { cache, names } = this.volume;
    const folder = new ExfatFolder(cache, place, this.volume);
    const links = 2 + (await folder.countFolders(signal));
    const shown = { ...times, permissions: permissions.usual };
    const entries: Folder['entries'] = (after, until) => folder.entries(after, until);
    return {
      type: 'directory',
      attributes: this.#attributes(inode, 'directory', place.size, links, shown),
      find: (name, until) => names.find(inode, name, entries, until),
      entries,
    };
  }

  #attributes(inode: Inode, type: Attributes['type'], size: number, links: number, shown: Shown): Attributes {
    const { clusterBytes } = this.volume.geometry;
    return {
      inode,
      type,
      links,
      uid: 0,
      gid: 0,
      size,
      allocated: Math.ceil(size / clusterBytes) * clusterBytes,
      ...shown,
      freshSeconds: Number.POSITIVE_INFINITY,
      bare: true,
    };
  }
}

type Times = Pick<Attributes, 'modified' | 'changed' | 'accessed'>;
type Shown = Times & Pick<Attributes, 'permissions'>;

/** What was never written reads as zeros, whatever its clusters hold. */
function writtenPart(map: FileMap, written: number, size: number): FileMap {
  return async (offset, length, signal) => {
    if (offset >= written) return [{ offset: written, length: size - written, place: undefined }];
    const extents = await map(offset, Math.min(length, written - offset), signal);
    return extents.map((extent) => ({
      ...extent,
      length: Math.min(extent.length, written - extent.offset),
    }));
  };
}
