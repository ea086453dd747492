import { messageOf, StillError } from '../../errors.js';
import type { Name } from '../../name.js';
import type { Attributes } from '../../tree/attributes.js';
import type { FileContent, FileNode, Folder, ListedEntry } from '../file-system.js';
import { type Attribute, attributeTypes } from './attribute.js';
import {
  mostExtendedAttributeBytes,
  parseExtendedAttributes,
  type WslMetadata,
  wslMetadata,
} from './extended-attributes.js';
import type { FileAttributes } from './file-attributes.js';
import { nameFromUtf16, nameToUtf16, parseFileName } from './file-name.js';
import { type InterixFile, interixFile, mostInterixBytes } from './interix-file.js';
import { folderOf, linkTarget } from './link-target.js';
import type { FileReference } from './mft-record.js';
import { mostReparseBytes, parseReparsePoint, type ReparsePoint } from './reparse-point.js';
import { ResidentContent } from './resident-content.js';
import { streamsOf } from './streams.js';
import { SoughtName } from './upcase.js';
import { firstUserRecord, folderSizes, systemFiles, type Volume } from './volume.js';
import { windowsTime } from './windows-time.js';

/** ntfs-3g's layout.h: struct STANDARD_INFORMATION, enum FILE_ATTR_FLAGS. */
const standardInformationBytes = 36;
const flagOf = { hidden: 0x2, system: 0x4, reparsePoint: 0x400, encrypted: 0x4000 } as const;
/** Of a file whose data are elsewhere until they are asked for: offline, recall on open, recall on data access. */
const recalled = 0x44_1000;
const longestName = 255;
/** As ntfs-3g shows everything by default: NTFS has access control lists of Windows, which say nothing to Linux. */
const everything = 0o777;
/** Set in the number of a file that a folder tells of and that is gone; above all numbers of records. */
const gone = 2n ** 40n;

/** The file of a number. ESTALE: there is none. */
export async function fileNode(volume: Volume, inode: bigint, signal: AbortSignal): Promise<FileNode> {
  if (inode >= gone)
    throw new StillError(
      'EIO',
      `a folder has a name for MFT record ${inode - gone}, which is no file's or another's now`,
    );
  const number = Number(inode);
  if (number < firstUserRecord && number !== systemFiles.root)
    throw new StillError('ESTALE', `MFT record ${number} is the volume's own`);
  const file = await volume.file(number, signal);
  const standard = await file.find(attributeTypes.standardInformation, '', signal);
  if (!standard?.resident || standard.value.length < standardInformationBytes)
    throw new StillError('EIO', `MFT record ${number} is damaged: it has no standard information`);
  const flags = standard.value.readUInt32LE(32);
  const { uid = 0, gid = 0, permissions = everything, device } = await wslOf(volume, file, signal);
  const common = {
    inode,
    permissions,
    links: file.record.directory ? 1 : await linksOf(file, signal),
    uid,
    gid,
    accessed: windowsTime(standard.value, 24),
    modified: windowsTime(standard.value, 8),
    changed: windowsTime(standard.value, 16),
    freshSeconds: Number.POSITIVE_INFINITY,
  };
  const making: Making = { volume, file, common, device };
  const point = (flags & flagOf.reparsePoint) === 0 ? undefined : await reparsePointOf(volume, file, signal);
  if (point && point.kind !== 'elsewhere' && point.kind !== 'cloud' && point.kind !== 'other')
    return specialNode(making, point, signal);
  if (file.record.directory) return folderNode(making, signal);
  const data = await file.find(attributeTypes.data, '', signal);
  if (!point && (flags & flagOf.system) !== 0 && (flags & flagOf.encrypted) === 0) {
    const interix = await interixOf(volume, file, data, (flags & flagOf.hidden) !== 0, signal);
    if (interix) return interixNode(making, interix, sizesOf(data));
  }
  return regularNode(making, data, unreadable(point, flags));
}

interface Making {
  readonly volume: Volume;
  readonly file: FileAttributes;
  readonly common: Omit<Attributes, 'type' | 'size' | 'allocated'>;
  /** As WSL has it. */
  readonly device: WslMetadata['device'];
}

function regularNode(making: Making, data: Attribute | undefined, reason: string | undefined): FileNode {
  const { volume, file, common } = making;
  const { number } = file.record;
  const attributes: Attributes = { ...common, type: 'file', ...sizesOf(data) };
  return {
    type: 'file',
    attributes,
    ...xattrsOf(making),
    // The record is read again: what was parsed of it is larger than what is kept.
    content: async (signal): Promise<FileContent> => {
      if (reason !== undefined)
        throw new StillError('EOPNOTSUPP', `file ${number} can't be read: its data are ${reason}`);
      const again = await volume.file(number, signal);
      const found = await again.find(attributeTypes.data, '', signal);
      return found ? volume.value(again, found).content : new ResidentContent(Buffer.alloc(0));
    },
  };
}

async function folderNode(making: Making, signal: AbortSignal): Promise<Folder> {
  const { volume, file, common } = making;
  const { number } = file.record;
  const inodeOf = async (reference: FileReference, until: AbortSignal): Promise<bigint> =>
    BigInt(reference.record) + ((await volume.mft.isCurrent(reference, until)) ? 0n : gone);
  const isShown = ({ record }: FileReference): boolean => record >= firstUserRecord;
  return {
    type: 'directory',
    attributes: { ...common, type: 'directory', ...(await folderSizes(file, signal)) },
    ...xattrsOf(making),
    async find(name, until) {
      const text = nameToUtf16(name);
      if (text === undefined || text.length > longestName) return undefined;
      const sought = new SoughtName(text, await volume.upcase(until));
      const entry = await (await volume.index(number, until)).find(sought, until);
      if (!entry || !isShown(entry.file)) return undefined;
      return { inode: await inodeOf(entry.file, until), type: undefined };
    },
    async entries(after, until) {
      const index = await volume.index(number, until);
      for (let from = after; ; ) {
        const names = await index.names(from, until);
        const last = names.at(-1);
        if (!last) return [];
        const entries: ListedEntry[] = [];
        for (const { name, file: reference, cookie } of names) {
          if (!isShown(reference)) continue;
          entries.push({
            name: nameFromUtf16(name),
            inode: await inodeOf(reference, until),
            type: undefined,
            cookie,
          });
        }
        if (entries.length > 0) return entries;
        from = last.cookie;
      }
    },
    async parent(until) {
      const above = await folderOf(await volume.file(number, until), until);
      if (above) return BigInt(above.record);
      throw new StillError('EIO', `MFT record ${number} is damaged: it has no name`);
    },
  };
}

async function specialNode(
  { volume, file, common, device }: Making,
  point: Exclude<ReparsePoint, { kind: 'elsewhere' | 'cloud' | 'other' }>,
  signal: AbortSignal,
): Promise<FileNode> {
  const { allocated } = sizesOf(await file.find(attributeTypes.data, '', signal));
  if (point.kind === 'unix symlink' || point.kind === 'symlink') {
    const target =
      point.kind === 'symlink'
        ? await linkTarget(volume, file, point.target, point.relative, signal)
        : point.target;
    const attributes: Attributes = {
      ...common,
      permissions: everything,
      type: 'symlink',
      size: target.length,
      allocated,
    };
    return { type: 'symlink', attributes, target: async () => target };
  }
  const isDevice = point.kind === 'character' || point.kind === 'block';
  const attributes: Attributes = {
    ...common,
    type: point.kind,
    size: 0,
    allocated,
    ...(isDevice && { device: device ?? { major: 0, minor: 0 } }),
  };
  return { type: point.kind, attributes };
}

function interixNode({ common }: Making, interix: InterixFile, sizes: Sizes): FileNode {
  if (interix.type === 'symlink') {
    const target = Buffer.from(nameFromUtf16(interix.target), 'latin1');
    const attributes: Attributes = {
      ...common,
      permissions: everything,
      type: 'symlink',
      ...sizes,
      size: target.length,
    };
    return { type: 'symlink', attributes, target: async () => target };
  }
  const { type } = interix;
  const device = 'major' in interix && { device: { major: interix.major, minor: interix.minor } };
  return { type, attributes: { ...common, type, ...sizes, ...device } };
}

/** Why the data of a file can't be read, where they can't. */
function unreadable(point: ReparsePoint | undefined, flags: number): string | undefined {
  if (point?.kind === 'elsewhere') return point.how;
  if (point?.kind === 'cloud' && (flags & recalled) !== 0) return 'kept in the cloud, not on this disk';
  return undefined;
}

interface Sizes {
  readonly size: number;
  readonly allocated: number;
}

function sizesOf(data: Attribute | undefined): Sizes {
  if (!data) return { size: 0, allocated: 0 };
  if (data.resident) return { size: data.value.length, allocated: Math.ceil(data.value.length / 8) * 8 };
  const { size = 0, allocated = 0 } = data.sizes ?? {};
  return { size, allocated };
}

/** The names of a file; one for DOS stands beside another. */
async function linksOf(file: FileAttributes, signal: AbortSignal): Promise<number> {
  let links = 0;
  for (const each of await file.all(attributeTypes.fileName, signal))
    if (each.resident && !parseFileName(each.value, file.record.number).dos) links++;
  return Math.max(links, 1);
}

/** EIO where it is said to have one and has none. */
async function reparsePointOf(
  volume: Volume,
  file: FileAttributes,
  signal: AbortSignal,
): Promise<ReparsePoint> {
  const value = await volume.whole(file, attributeTypes.reparsePoint, '', mostReparseBytes, signal);
  return parseReparsePoint(value ?? Buffer.alloc(0), file.record.number);
}

async function wslOf(volume: Volume, file: FileAttributes, signal: AbortSignal): Promise<WslMetadata> {
  if (file.names(attributeTypes.extendedAttributes).length === 0) return {};
  try {
    const value = await volume.whole(
      file,
      attributeTypes.extendedAttributes,
      '',
      mostExtendedAttributeBytes,
      signal,
    );
    return value ? wslMetadata(parseExtendedAttributes(value, file.record.number)) : {};
  } catch (error) {
    if (!(error instanceof StillError)) throw error;
    volume.problem(`File ${file.record.number} is shown without what Linux kept of it: ${messageOf(error)}.`);
    return {};
  }
}

async function interixOf(
  volume: Volume,
  file: FileAttributes,
  data: Attribute | undefined,
  hidden: boolean,
  signal: AbortSignal,
): Promise<InterixFile | undefined> {
  if (!data || sizesOf(data).size > mostInterixBytes) return undefined;
  try {
    const content = await volume.whole(file, attributeTypes.data, '', mostInterixBytes, signal);
    return content && interixFile(content, hidden);
  } catch (error) {
    // It is a file whose data can't be read: who opens it is told.
    if (error instanceof StillError) return undefined;
    throw error;
  }
}

function xattrsOf({ volume, file }: Making): Pick<Folder, 'xattrs'> {
  const named = file.names(attributeTypes.data).some((name) => name !== '');
  if (!named && file.names(attributeTypes.extendedAttributes).length === 0) return {};
  const { number } = file.record;
  return {
    xattrs: async (signal): Promise<ReadonlyMap<Name, Uint8Array>> =>
      streamsOf(volume, await volume.file(number, signal), signal),
  };
}
