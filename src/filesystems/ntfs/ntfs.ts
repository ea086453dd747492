import type { Disk } from '../../disks/disk.js';
import { StillError } from '../../errors.js';
import type { Attributes, Inode } from '../../tree/attributes.js';
import type { Capacity } from '../../tree/tree.js';
import { CachedReads } from '../cached-reads.js';
import type { FileNode, FileSystem, FileSystemFacts, FileSystemOptions } from '../file-system.js';
import { bootSectorBytes, parseBootSector } from './boot-sector.js';
import { attributesNow, fileNode } from './file-node.js';
import { recordOf } from './folder-node.js';
import { Mft } from './mft.js';
import { systemFiles, Volume } from './volume.js';
import { readVolumeState } from './volume-state.js';

export { isNtfs } from './boot-sector.js';

/**
 * Opens an NTFS volume: what it is made of is read when it is needed. The file system closes the disk; where opening fails, it stays
 * the caller's. EIO: it is damaged, or none. EOPNOTSUPP: of a version that is not read.
 *
 * Everything is shown as ntfs-3g shows it by default: root's, with all permissions, and without the volume's own files; names are found
 * in exactly the case that they are listed in.
 */
export async function openNtfs(disk: Disk, { signal, problem }: FileSystemOptions): Promise<FileSystem> {
  const cache = new CachedReads(disk, 'the NTFS volume');
  try {
    const first = await cache.bytes(0, Math.min(bootSectorBytes, disk.size), signal);
    const geometry = parseBootSector(first, disk.size);
    if (geometry.volumeBytes > disk.size)
      problem(
        `The disk is cut short: it has ${disk.size} bytes, and its NTFS volume ${geometry.volumeBytes}.`,
      );
    const volume = new Volume(
      disk,
      cache,
      geometry,
      await Mft.open(cache, geometry, problem, signal),
      problem,
    );
    const root = await fileNode(volume, systemFiles.root, signal);
    if (root.type !== 'directory')
      throw new StillError('EIO', `the root of the NTFS volume is a ${root.type}`);
    const { label } = await readVolumeState(volume, signal);
    return new Ntfs(volume, { kind: 'ntfs', uuid: geometry.serial, ...(label !== undefined && { label }) });
  } catch (error) {
    cache.clear();
    throw error;
  }
}

class Ntfs implements FileSystem {
  readonly root: Inode = BigInt(systemFiles.root);

  constructor(
    private readonly volume: Volume,
    readonly facts: FileSystemFacts,
  ) {}

  async node(inode: Inode, signal: AbortSignal): Promise<FileNode> {
    return fileNode(this.volume, recordOf(inode), signal);
  }

  attributesNow(inode: Inode): Attributes | undefined {
    return attributesNow(this.volume, recordOf(inode));
  }

  /** What is free is told by nothing but a bit for each cluster, which nobody needs to have counted. */
  capacity(): Capacity {
    const { volumeBytes } = this.volume.geometry;
    return { total: volumeBytes, free: 0, files: this.volume.mft.count };
  }

  close(): Promise<void> {
    return this.volume.close();
  }
}
