import { hasCode, StillError } from '../../errors.js';
import { attributeTypes } from './attribute.js';
import type { FileAttributes } from './file-attributes.js';
import { nameFromUtf16, parseFileName } from './file-name.js';
import type { FileReference } from './mft-record.js';
import { SoughtName } from './upcase.js';
import { systemFiles, type Volume } from './volume.js';

/** What Linux takes, without the NUL. */
const mostTargetBytes = 4095;
const mostDepth = 1024;
/** Of a target with more parts nothing is looked for. */
const mostParts = 255;

/**
 * The target of a link as a path of Linux: relative, with slashes, names in the case that their folders have them in. An absolute one
 * leads to the same file of this volume, if there is one, by whatever letter Windows calls the volume; otherwise it is the text that
 * Windows has (`D:/there`), which leads nowhere.
 */
export async function linkTarget(
  volume: Volume,
  link: FileAttributes,
  target: string,
  relative: boolean,
  signal: AbortSignal,
): Promise<Buffer> {
  const path = await pathOf(volume, link, target, relative, signal);
  const bytes = Buffer.from(nameFromUtf16(path), 'latin1');
  if (bytes.length > 0 && bytes.length <= mostTargetBytes && !bytes.includes(0)) return bytes;
  throw new StillError(
    'EIO',
    `the target of the link ${link.record.number}, ${bytes.length} bytes, is no path`,
  );
}

async function pathOf(
  volume: Volume,
  link: FileAttributes,
  target: string,
  relative: boolean,
  signal: AbortSignal,
): Promise<string> {
  const folder = await folderOf(link, signal);
  const onVolume =
    /^(?:\\\?\?\\|\\\\\?\\)?[A-Za-z]:\\(.*)$/s.exec(target) ?? (relative && /^\\(.*)$/s.exec(target));
  if (!onVolume) {
    const parts = target.replace(/^(?:\\\?\?\\|\\\\\?\\)/, '').split('\\');
    if (!relative || !folder) return parts.join('/').replace(/^\/+/, '');
    return (await follow(volume, folder.record, parts, signal)).parts.join('/');
  }
  const wanted = (onVolume[1] ?? '').split('\\').filter((part) => part !== '');
  const { parts, found } = await follow(volume, systemFiles.root, wanted, signal);
  const depth = found && folder ? await depthOf(volume, folder.record, signal) : undefined;
  if (depth === undefined)
    return target
      .replace(/^(?:\\\?\?\\|\\\\\?\\)/, '')
      .replaceAll('\\', '/')
      .replace(/^\/+/, '');
  return [...Array.from({ length: depth }, () => '..'), ...parts].join('/') || '.';
}

/** Goes along a path, as far as there are folders, and finds the names as they are written there. */
async function follow(
  volume: Volume,
  from: number,
  path: readonly string[],
  signal: AbortSignal,
): Promise<{ readonly parts: string[]; readonly found: boolean }> {
  const parts = [...path];
  if (parts.length > mostParts) return { parts, found: false };
  const upcase = await volume.upcase(signal);
  let at = from;
  try {
    for (const [place, part] of path.entries()) {
      if (part === '' || part === '.') continue;
      const file = await volume.file(at, signal);
      // Where another link leads is for whoever follows this one to find out.
      if (await file.find(attributeTypes.reparsePoint, '', signal)) return { parts, found: true };
      if (part === '..') {
        at = (await folderOf(file, signal))?.record ?? at;
        continue;
      }
      const index = await volume.index(at, signal);
      const entry =
        (await index.find(new SoughtName(part, upcase), signal)) ??
        (await index.find(new SoughtName(part, upcase, false), signal));
      if (!entry) return { parts, found: false };
      parts[place] = entry.name;
      at = entry.file.record;
    }
    return { parts, found: true };
  } catch (error) {
    // A link whose target is damaged is a link all the same.
    if (error instanceof StillError) return { parts, found: false };
    throw error;
  }
}

/** The folder that a file is in: one of them, where it has several names. */
export async function folderOf(
  file: FileAttributes,
  signal: AbortSignal,
): Promise<FileReference | undefined> {
  const name = await file.find(attributeTypes.fileName, '', signal);
  return name?.resident ? parseFileName(name.value, file.record.number).folder : undefined;
}

/** How many folders there are between the root and this one, which counts; undefined where they do not lead to the root. */
async function depthOf(volume: Volume, folder: number, signal: AbortSignal): Promise<number | undefined> {
  let at = folder;
  for (let depth = 0; depth < mostDepth; depth++) {
    if (at === systemFiles.root) return depth;
    try {
      const above = await folderOf(await volume.file(at, signal), signal);
      if (!above) return undefined;
      at = above.record;
    } catch (error) {
      if (hasCode(error, 'EIO') || hasCode(error, 'ESTALE')) return undefined;
      throw error;
    }
  }
  return undefined;
}
