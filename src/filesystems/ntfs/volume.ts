import { LRUCache } from 'lru-cache';
import type { Disk } from '../../disks/disk.js';
import { messageOf, StillError } from '../../errors.js';
import type { Name } from '../../name.js';
import type { CachedReads } from '../cached-reads.js';
import type { FileContent } from '../file-system.js';
import { MappedContent } from '../mapped-content.js';
import { type Attribute, attributeTypes } from './attribute.js';
import type { Geometry } from './boot-sector.js';
import { CompressedContent, UnpackedUnits } from './compressed-content.js';
import { type Sizes, sizesOf } from './essentials.js';
import { FileAttributes } from './file-attributes.js';
import { FolderIndex, KnownBlocks } from './folder-index.js';
import type { Mft } from './mft.js';
import { ResidentContent } from './resident-content.js';
import { parseUpcase, type Upcase, upcaseBytes, usualUpcase } from './upcase.js';

/** Records of files that only the volume itself knows, ntfs-3g's layout.h: enum NTFS_SYSTEM_FILES. */
export const systemFiles = { logFile: 2, volume: 3, root: 5, upcase: 10 } as const;
/** Records below are the volume's own; of them only the root is shown. */
export const firstUserRecord = 16;
const indexName = '$I30';
const mostFolders = 256;

/** The value of an attribute. */
export interface Value extends Sizes {
  readonly content: FileContent;
}

/** What the parts of the reader share: the disk, its structure, and what was read of it. */
export class Volume {
  readonly #folders = new LRUCache<number, FolderIndex>({ max: mostFolders });
  readonly #blocks = new KnownBlocks();
  readonly units = new UnpackedUnits();
  /** The streams of the file whose streams were read last. */
  lastStreams: { readonly file: number; readonly found: ReadonlyMap<Name, Uint8Array> } | undefined;
  #upcase: Upcase | undefined;

  constructor(
    readonly disk: Disk,
    readonly cache: CachedReads,
    readonly geometry: Geometry,
    readonly mft: Mft,
    readonly problem: (sentence: string) => void,
  ) {}

  /** The attributes of a file. ESTALE: the record is not in use, or a part of another file's. */
  async file(number: number, signal: AbortSignal): Promise<FileAttributes> {
    const record = await this.mft.record(number, signal);
    if (!record.inUse || record.base) throw new StillError('ESTALE', `MFT record ${number} is no file's`);
    return FileAttributes.of(record, this.mft, signal);
  }

  /** As `file`, without a wait, and good until the next one: undefined where its record is not in memory, or there is more than that one. */
  fileNow(number: number): FileAttributes | undefined {
    const record = this.mft.recordNow(number);
    if (!record?.inUse || record.base) return undefined;
    return FileAttributes.within(record, this.mft);
  }

  /** The value of an attribute, by its first part. EIO: it is damaged. EACCES: it is encrypted. EOPNOTSUPP: it is packed in another way. */
  value(file: FileAttributes, attribute: Attribute): Value {
    if (attribute.resident) {
      return { ...sizesOf(attribute), content: new ResidentContent(attribute.value) };
    }
    const { sizes, compression, encrypted, unitClusters, type, name } = attribute;
    const { number } = file.record;
    if (!sizes)
      throw new StillError('EIO', `MFT record ${number} is damaged: its data do not tell how many they are`);
    if (encrypted)
      throw new StillError('EACCES', `file ${number} is encrypted (EFS); only its owner's key reads it`);
    if (compression > 1)
      throw new StillError('EOPNOTSUPP', `file ${number} is compressed in the unknown way ${compression}`);
    const map = file.map(attribute);
    const { size, allocated } = sizes;
    const { clusterBytes } = this.geometry;
    const content =
      compression === 0
        ? new MappedContent(this.disk, this.cache, map.fileMap(sizes))
        : new CompressedContent(
            this.disk,
            map,
            sizes,
            unitClusters,
            clusterBytes,
            this.units,
            `attribute 0x${type.toString(16)}${name && ` ${name}`} of file ${number}`,
          );
    return { size, allocated, content };
  }

  /** The whole value of an attribute; undefined where there is none. EIO: it is larger than it can be, or damaged. */
  async whole(
    file: FileAttributes,
    type: number,
    name: string,
    mostBytes: number,
    signal: AbortSignal,
  ): Promise<Buffer | undefined> {
    const attribute = await file.find(type, name, signal);
    if (!attribute) return undefined;
    if (attribute.resident) return attribute.value;
    const { size, content } = this.value(file, attribute);
    if (size > mostBytes)
      throw new StillError(
        'EIO',
        `attribute 0x${type.toString(16)} of MFT record ${file.record.number} has ${size} bytes, more than it can have`,
      );
    const bytes = Buffer.alloc(size);
    await content.read(0, bytes, signal);
    return bytes;
  }

  /** The index of a folder. ENOTDIR: it is none. */
  async index(folder: number, signal: AbortSignal): Promise<FolderIndex> {
    const known = this.#folders.get(folder);
    if (known) return known;
    const file = await this.file(folder, signal);
    const root = await file.find(attributeTypes.indexRoot, indexName, signal);
    if (!file.record.directory || !root?.resident)
      throw new StillError('ENOTDIR', `MFT record ${folder} has no index of names`);
    const blocks = await file.find(attributeTypes.indexAllocation, indexName, signal);
    const bitmap = blocks && (await file.find(attributeTypes.bitmap, indexName, signal));
    const index = new FolderIndex(
      folder,
      {
        root: root.value,
        blocks: blocks && this.value(file, blocks),
        bitmap: bitmap && this.value(file, bitmap),
      },
      this.geometry,
      this.#blocks,
      this.problem,
    );
    this.#folders.set(folder, index);
    return index;
  }

  /** How names are compared. */
  async upcase(signal: AbortSignal): Promise<Upcase> {
    if (this.#upcase) return this.#upcase;
    try {
      const file = await this.file(systemFiles.upcase, signal);
      const bytes = await this.whole(file, attributeTypes.data, '', upcaseBytes, signal);
      this.#upcase = parseUpcase(bytes ?? Buffer.alloc(0));
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof StillError)) throw error;
      this.problem(
        `Some names may not be found, for the volume's table of upper case can't be read: ${messageOf(error)}.`,
      );
      this.#upcase = usualUpcase();
    }
    return this.#upcase;
  }

  async close(): Promise<void> {
    this.#folders.clear();
    this.#blocks.clear();
    this.units.clear();
    this.lastStreams = undefined;
    this.cache.clear();
    await this.disk.close();
  }
}
