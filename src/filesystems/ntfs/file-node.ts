import { messageOf, StillError } from '../../errors.js';
import type { Name } from '../../name.js';
import type { Attributes, FileType } from '../../tree/attributes.js';
import type { FileContent, FileNode } from '../file-system.js';
import { attributeTypes } from './attribute.js';
import { type Essentials, essentialsIn, essentialsOf, type Sizes, sizesOf } from './essentials.js';
import {
  mostExtendedAttributeBytes,
  parseExtendedAttributes,
  type WslMetadata,
  wslMetadata,
} from './extended-attributes.js';
import { nameFromUtf16 } from './file-name.js';
import { folderNode } from './folder-node.js';
import { type InterixFile, interixFile, mostInterixBytes } from './interix-file.js';
import { linkTarget } from './link-target.js';
import { mostReparseBytes, parseReparsePoint, type ReparsePoint } from './reparse-point.js';
import { ResidentContent } from './resident-content.js';
import { streamsOf } from './streams.js';
import { chunksStream, SystemCompressedContent } from './system-compression.js';
import { firstUserRecord, systemFiles, type Volume } from './volume.js';
import { windowsTime } from './windows-time.js';

const flagOf = { hidden: 0x2, system: 0x4, reparsePoint: 0x400, encrypted: 0x4000 } as const;
/** Of a file whose data are elsewhere until they are asked for: offline, recall on open, recall on data access. */
const recalled = 0x44_1000;
/** As ntfs-3g shows everything by default: NTFS has access control lists of Windows, which say nothing to Linux. */
const everything = 0o777;

/** The file of a record. ESTALE: there is none. */
export async function fileNode(volume: Volume, number: number, signal: AbortSignal): Promise<FileNode> {
  if (number < firstUserRecord && number !== systemFiles.root)
    throw new StillError('ESTALE', `MFT record ${number} is the volume's own`);
  const essentials = await essentialsOf(await volume.file(number, signal), signal);
  const { file, flags, data, hasExtendedAttributes } = essentials;
  const wsl = hasExtendedAttributes ? await wslOf(volume, essentials, signal) : {};
  const xattrs = xattrsOf(volume, essentials);
  const point =
    (flags & flagOf.reparsePoint) === 0 ? undefined : await reparsePointOf(volume, essentials, signal);
  if (point && !isFile(point)) return specialNode(volume, essentials, wsl, point, signal);
  if (file.record.directory) {
    const attributes = attributesOf(essentials, wsl, 'directory', sizesOf(essentials.blocks));
    return folderNode(volume, number, attributes, xattrs);
  }
  const sizes = sizesOf(data);
  if (!point && (flags & flagOf.system) !== 0 && (flags & flagOf.encrypted) === 0) {
    const interix = await interixOf(volume, essentials, sizes, signal);
    if (interix) return interixNode(essentials, wsl, interix, sizes);
  }
  if (point?.kind === 'system compressed') {
    const chunks = await file.find(attributeTypes.data, chunksStream, signal);
    const attributes = attributesOf(essentials, wsl, 'file', { ...sizesOf(chunks), size: sizes.size });
    return {
      type: 'file',
      attributes,
      ...xattrs,
      content: unpackedContentOf(volume, number, sizes.size, point.chunkBytes),
    };
  }
  const attributes = attributesOf(essentials, wsl, 'file', sizes);
  return {
    type: 'file',
    attributes,
    ...xattrs,
    content: contentOf(volume, number, unreadable(point, flags)),
  };
}

/**
 * What stat(2) tells of the file of a record, without a wait: undefined where the record is not in memory, or more than itself is
 * needed to tell.
 */
export function attributesNow(volume: Volume, number: number): Attributes | undefined {
  const file = number < firstUserRecord ? undefined : volume.fileNow(number);
  if (!file) return undefined;
  const essentials = essentialsIn(file, file.record.attributes);
  const { flags, hasExtendedAttributes, data, blocks } = essentials;
  if (hasExtendedAttributes || (flags & (flagOf.reparsePoint | flagOf.system)) !== 0) return undefined;
  return file.record.directory
    ? attributesOf(essentials, {}, 'directory', sizesOf(blocks))
    : attributesOf(essentials, {}, 'file', sizesOf(data));
}

function attributesOf(
  essentials: Essentials,
  { uid = 0, gid = 0, permissions = everything }: WslMetadata,
  type: FileType,
  { size, allocated }: Sizes,
  device?: Attributes['device'],
): Attributes {
  const { file, standard, names } = essentials;
  const { value } = standard;
  const showsXattrs = (type === 'file' || type === 'directory') && hasXattrs(essentials);
  const attributes: Attributes = {
    inode: BigInt(file.record.number),
    type,
    permissions: type === 'symlink' ? everything : permissions,
    // find(1) and others take more than one for a count of folders.
    links: type === 'directory' ? 1 : Math.max(names, 1),
    uid,
    gid,
    size,
    allocated,
    accessed: windowsTime(value, 24),
    modified: windowsTime(value, 8),
    changed: windowsTime(value, 16),
    freshSeconds: Number.POSITIVE_INFINITY,
    bare: showsXattrs ? undefined : true,
  };
  return device ? { ...attributes, device } : attributes;
}

/** The record is read again when the file is opened: what was parsed of it is larger than what is kept. */
function contentOf(
  volume: Volume,
  number: number,
  reason: string | undefined,
): (signal: AbortSignal) => Promise<FileContent> {
  return async (signal) => {
    if (reason !== undefined)
      throw new StillError('EOPNOTSUPP', `file ${number} can't be read: its data are ${reason}`);
    const file = await volume.file(number, signal);
    const data = await file.find(attributeTypes.data, '', signal);
    return data ? volume.value(file, data).content : new ResidentContent(Buffer.alloc(0));
  };
}

function unpackedContentOf(
  volume: Volume,
  number: number,
  size: number,
  chunkBytes: number,
): (signal: AbortSignal) => Promise<FileContent> {
  return async (signal) => {
    const file = await volume.file(number, signal);
    const chunks = await file.find(attributeTypes.data, chunksStream, signal);
    if (!chunks)
      throw new StillError('EIO', `file ${number} is damaged: it is compressed, and has no chunks`);
    return new SystemCompressedContent(
      volume.value(file, chunks),
      size,
      chunkBytes,
      volume.units,
      `file ${number}`,
    );
  };
}

function hasXattrs({ hasStreams, hasExtendedAttributes }: Essentials): boolean {
  return hasStreams || hasExtendedAttributes;
}

function xattrsOf(volume: Volume, essentials: Essentials): Pick<FileNode, 'xattrs'> {
  if (!hasXattrs(essentials)) return {};
  const { number } = essentials.file.record;
  return {
    xattrs: (signal): Promise<ReadonlyMap<Name, Uint8Array>> => streamsOf(volume, number, signal),
  };
}

async function specialNode(
  volume: Volume,
  essentials: Essentials,
  wsl: WslMetadata,
  point: Exclude<ReparsePoint, FilePoint>,
  signal: AbortSignal,
): Promise<FileNode> {
  const { allocated } = sizesOf(essentials.data);
  if (point.kind === 'symlink' || point.kind === 'unix symlink') {
    const target =
      point.kind === 'symlink'
        ? await linkTarget(volume, essentials.file, point.target, point.relative, signal)
        : point.target;
    return symlinkNode(essentials, wsl, target, allocated);
  }
  const isDevice = point.kind === 'character' || point.kind === 'block';
  const device = isDevice ? (wsl.device ?? { major: 0, minor: 0 }) : undefined;
  const attributes = attributesOf(essentials, wsl, point.kind, { size: 0, allocated }, device);
  return { type: point.kind, attributes };
}

function interixNode(essentials: Essentials, wsl: WslMetadata, interix: InterixFile, sizes: Sizes): FileNode {
  if (interix.type === 'symlink') {
    const target = Buffer.from(nameFromUtf16(interix.target), 'latin1');
    return symlinkNode(essentials, wsl, target, sizes.allocated);
  }
  const { type } = interix;
  const device = 'major' in interix ? { major: interix.major, minor: interix.minor } : undefined;
  return { type, attributes: attributesOf(essentials, wsl, type, sizes, device) };
}

function symlinkNode(essentials: Essentials, wsl: WslMetadata, target: Buffer, allocated: number): FileNode {
  const attributes = attributesOf(essentials, wsl, 'symlink', { size: target.length, allocated });
  return { type: 'symlink', attributes, target: async () => target };
}

/** Reparse points that leave a file what it is. */
type FilePoint = Extract<ReparsePoint, { kind: 'system compressed' | 'elsewhere' | 'cloud' | 'other' }>;

function isFile(point: ReparsePoint): point is FilePoint {
  const { kind } = point;
  return kind === 'system compressed' || kind === 'elsewhere' || kind === 'cloud' || kind === 'other';
}

/** Why the data of a file can't be read, where they can't. */
function unreadable(point: ReparsePoint | undefined, flags: number): string | undefined {
  if (point?.kind === 'elsewhere') return point.how;
  if (point?.kind === 'cloud' && (flags & recalled) !== 0) return 'kept in the cloud, not on this disk';
  return undefined;
}

/** EIO where it is said to have one and has none. */
async function reparsePointOf(
  volume: Volume,
  { file }: Essentials,
  signal: AbortSignal,
): Promise<ReparsePoint> {
  const value = await volume.whole(file, attributeTypes.reparsePoint, '', mostReparseBytes, signal);
  return parseReparsePoint(value ?? Buffer.alloc(0), file.record.number);
}

async function wslOf(volume: Volume, { file }: Essentials, signal: AbortSignal): Promise<WslMetadata> {
  try {
    const type = attributeTypes.extendedAttributes;
    const value = await volume.whole(file, type, '', mostExtendedAttributeBytes, signal);
    return value ? wslMetadata(parseExtendedAttributes(value, file.record.number)) : {};
  } catch (error) {
    if (!(error instanceof StillError)) throw error;
    volume.problem(`File ${file.record.number} is shown without what Linux kept of it: ${messageOf(error)}.`);
    return {};
  }
}

async function interixOf(
  volume: Volume,
  { file, flags, data }: Essentials,
  { size }: Sizes,
  signal: AbortSignal,
): Promise<InterixFile | undefined> {
  if (!data || size > mostInterixBytes) return undefined;
  try {
    const content = await volume.whole(file, attributeTypes.data, '', mostInterixBytes, signal);
    return content && interixFile(content, (flags & flagOf.hidden) !== 0);
  } catch (error) {
    // It is a file whose data can't be read: who opens it is told.
    if (error instanceof StillError) return undefined;
    throw error;
  }
}
