import type { Disk } from '../../disks/disk.js';
import { messageOf, StillError } from '../../errors.js';
import { epoch } from '../../time.js';
import type { Attributes, Inode } from '../../tree/attributes.js';
import type { Capacity } from '../../tree/tree.js';
import { CachedReads } from '../cached-reads.js';
import { ClusterChain } from '../cluster-chain.js';
import { dosTime } from '../dos-time.js';
import type { FileNode, FileSystem, FileSystemFacts, FileSystemOptions, Folder } from '../file-system.js';
import { MappedContent } from '../mapped-content.js';
import { NameIndex } from '../name-index.js';
import { bootSectorBytes, type FatGeometry, parseBootSector } from './boot-sector.js';
import { FileAllocationTable } from './file-allocation-table.js';
import { FatFolder, type FolderPlace } from './folder.js';
import { attributeOf, labelText, slotBytes, slotKind } from './folder-slot.js';

export { isFat } from './boot-sector.js';

const rootInode = 1n;
/** Linux's vfat shows everything as root's, with these permissions. */
const permissions = { usual: 0o755, readOnly: 0o555 } as const;
/** A folder has 65 536 slots at most. */
const mostFolderBytes = 65_536 * slotBytes;
const place = {
  attributes: 11,
  accessDate: 18,
  clusterHigh: 20,
  time: 22,
  date: 24,
  cluster: 26,
  size: 28,
} as const;
const noLabel = 'NO NAME';

/**
 * Opens a file system of FAT12, FAT16 or FAT32. It closes the disk; where opening fails, the disk stays the caller's. EIO: it is damaged,
 * or none.
 *
 * Everything is shown as Linux's vfat shows it by default, with names in UTF-8, found in exactly the case that they are listed in. Times
 * are local ones, of a zone that FAT does not tell: they are taken as UTC. A file's number is its slot's place on the disk.
 */
export async function openFat(disk: Disk, { signal, problem }: FileSystemOptions): Promise<FileSystem> {
  const cache = new CachedReads(disk, 'the FAT file system');
  try {
    const first = await cache.bytes(0, Math.min(bootSectorBytes, disk.size), signal);
    const geometry = parseBootSector(first);
    if (geometry.totalBytes > disk.size)
      problem(
        `The disk is cut short: it has ${disk.size} bytes, and its FAT file system ${geometry.totalBytes}.`,
      );
    const volume = new FatVolume(disk, cache, geometry);
    return new Fat(volume, await factsOf(volume, { signal, problem }));
  } catch (error) {
    cache.clear();
    throw error;
  }
}

async function factsOf(volume: FatVolume, { signal, problem }: FileSystemOptions): Promise<FileSystemFacts> {
  const { serial, label } = volume.geometry;
  let text: string | undefined;
  try {
    text = await new FatFolder(volume.cache, await volume.rootPlace(signal)).label(signal);
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof StillError)) throw error;
    problem(`The root folder can't be read: ${messageOf(error)}.`);
  }
  text ??= label && labelText(label);
  const shown = text === '' || text === noLabel ? undefined : text;
  return {
    kind: 'vfat',
    ...(serial !== undefined && { uuid: serial }),
    ...(shown !== undefined && { label: shown }),
  };
}

/** What all files of a file system share. */
class FatVolume {
  readonly names = new NameIndex();
  readonly table: FileAllocationTable;
  #root: FolderPlace | undefined;

  constructor(
    readonly disk: Disk,
    readonly cache: CachedReads,
    readonly geometry: FatGeometry,
  ) {
    this.table = new FileAllocationTable(cache, geometry);
  }

  async rootPlace(signal: AbortSignal): Promise<FolderPlace> {
    this.#root ??= await this.#makeRoot(signal);
    return this.#root;
  }

  /** The folder whose slots begin in a cluster. */
  async folderPlace(cluster: number, name: string, signal: AbortSignal): Promise<FolderPlace> {
    const { clusterBytes } = this.geometry;
    if (cluster === 0) return { map: () => Promise.resolve([]), size: 0 };
    const chain = new ClusterChain(this.table, cluster, name);
    const clusters = await chain.count(Math.ceil(mostFolderBytes / clusterBytes), signal);
    return {
      map: (offset, length, until) => chain.map(offset, length, until),
      size: clusters * clusterBytes,
    };
  }

  async #makeRoot(signal: AbortSignal): Promise<FolderPlace> {
    const { fixedRoot, rootCluster } = this.geometry;
    if (!fixedRoot) return this.folderPlace(rootCluster, 'the root folder', signal);
    const { offset, size } = fixedRoot;
    return { map: async () => [{ offset: 0, length: size, place: offset }], size };
  }
}

class Fat implements FileSystem {
  readonly root: Inode = rootInode;

  constructor(
    private readonly volume: FatVolume,
    readonly facts: FileSystemFacts,
  ) {}

  async node(inode: Inode, signal: AbortSignal): Promise<FileNode> {
    if (inode === rootInode) return this.#root(signal);
    const slot = await this.#slot(inode, signal);
    const kind = slotKind(slot, 0);
    if (kind !== 'file' && kind !== 'folder')
      throw new StillError('ESTALE', `the FAT file system has no file ${inode}`);
    const high = this.volume.geometry.bits === 32 ? slot.readUInt16LE(place.clusterHigh) << 16 : 0;
    const cluster = (high >>> 0) + slot.readUInt16LE(place.cluster);
    const modified = dosTime(slot.readUInt16LE(place.date), slot.readUInt16LE(place.time));
    const times = {
      modified,
      // Linux has no other time to show; the one that FAT has beside these is that of the file's creation.
      changed: modified,
      accessed: dosTime(slot.readUInt16LE(place.accessDate), 0),
    };
    if (kind === 'folder') return this.#folder(inode, cluster, times, signal);
    const isReadOnly = ((slot[place.attributes] ?? 0) & attributeOf.readOnly) !== 0;
    return this.#file(inode, cluster, slot.readUInt32LE(place.size), {
      ...times,
      permissions: isReadOnly ? permissions.readOnly : permissions.usual,
    });
  }

  /** An entry lies in its folder, which has to be read. */
  attributesNow(): undefined {
    return undefined;
  }

  /** How many clusters are free is told by a hint alone, which nobody keeps. */
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

  async #slot(inode: Inode, signal: AbortSignal): Promise<Buffer> {
    const { fixedRoot, dataOffset, totalBytes } = this.volume.geometry;
    const { cache } = this.volume;
    const at = inode < 2n ** 48n ? Number(inode) * slotBytes : 0;
    if (at < (fixedRoot?.offset ?? dataOffset) || at + slotBytes > Math.min(totalBytes, cache.size))
      throw new StillError('ESTALE', `the FAT file system has no file ${inode}`);
    return cache.now(at, slotBytes) ?? (await cache.bytes(at, slotBytes, signal));
  }

  #file(inode: Inode, cluster: number, size: number, shown: Shown): FileNode {
    const { disk, cache, table } = this.volume;
    return {
      type: 'file',
      attributes: this.#attributes(inode, 'file', size, 1, shown),
      content: async () => {
        const chain = new ClusterChain(table, cluster, `file ${inode}`);
        return new MappedContent(disk, cache, (offset, length, signal) => chain.map(offset, length, signal));
      },
    };
  }

  async #root(signal: AbortSignal): Promise<FileNode> {
    const times = { modified: epoch, changed: epoch, accessed: epoch };
    return this.#folderNode(rootInode, await this.volume.rootPlace(signal), times, signal);
  }

  async #folder(inode: Inode, cluster: number, times: Times, signal: AbortSignal): Promise<FileNode> {
    const place = await this.volume.folderPlace(cluster, `folder ${inode}`, signal);
    return this.#folderNode(inode, place, times, signal);
  }

  async #folderNode(inode: Inode, where: FolderPlace, times: Times, signal: AbortSignal): Promise<Folder> {
    const { cache, names } = this.volume;
    const folder = new FatFolder(cache, where);
    const links = 2 + (await folder.countFolders(signal));
    const shown = { ...times, permissions: permissions.usual };
    const entries: Folder['entries'] = (after, until) => folder.entries(after, until);
    return {
      type: 'directory',
      attributes: this.#attributes(inode, 'directory', where.size, links, shown),
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
