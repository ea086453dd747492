import { isUtf8 } from 'node:buffer';
import { StillError } from '../../../src/errors.js';
import { type Name, nameFromText, nameToBytes } from '../../../src/name.js';
import type { Attributes } from '../../../src/tree/attributes.js';
import type { FileSystemWords } from '../native-operations.js';
import type { PathMount } from '../path-mount.js';
import { utf8NameText } from '../utf8-name.js';

export function attributesAt(mount: PathMount, path: string, signal: AbortSignal): Promise<Attributes> {
  return mount.paths.use(
    path,
    signal,
    async (node, attributes) => attributes ?? mount.forest.attributes(node, signal),
  );
}

/** The target of a symlink. EILSEQ where it is not UTF-8, which the package can't pass on. */
export async function linkTarget(mount: PathMount, path: string, signal: AbortSignal): Promise<string> {
  const target = await mount.paths.use(path, signal, ({ planted, inode }) =>
    planted.tree.readlink(inode, signal),
  );
  if (isUtf8(target)) return Buffer.from(target).toString('utf8');
  mount.complaints.once(`the target of ${path} is not UTF-8, so this transport can't show it`);
  throw new StillError('EILSEQ', `the target of ${path} is not UTF-8`);
}

export async function xattrAt(
  mount: PathMount,
  path: string,
  name: string,
  room: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const value = await mount.paths.use(path, signal, ({ planted, inode }) =>
    planted.tree.xattr(inode, nameFromText(name), signal),
  );
  return fitting(room, value);
}

/** The names of the extended attributes, each with a NUL behind it. */
export async function xattrNamesAt(
  mount: PathMount,
  path: string,
  room: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const names = await mount.paths.use(path, signal, ({ planted, inode }) =>
    planted.tree.xattrs(inode, signal),
  );
  const shown = names.filter((name) => utf8NameText(name) !== undefined);
  if (shown.length < names.length) {
    mount.complaints.once(
      `${path} has extended attributes whose names are not UTF-8: they can't be shown by this transport`,
    );
  }
  return fitting(room, nameToBytes(shown.map((name) => `${name}\0`).join('') as Name));
}

/** A value that fits into a caller's room, or any where the caller asks for its length alone (room 0). */
function fitting(room: number, value: Uint8Array): Uint8Array {
  if (room === 0 || value.length <= room) return value;
  throw new StillError('ERANGE', `${value.length} bytes do not fit into ${room}`);
}

export async function capacityAt(
  mount: PathMount,
  path: string,
  signal: AbortSignal,
): Promise<FileSystemWords> {
  const capacity = await mount.paths.use(path, signal, async ({ planted }) =>
    planted.tree.capacity?.(signal),
  );
  const { total, free, files } = capacity ?? { total: 0, free: 0, files: 0 };
  // The package hands counts on as 32 bits: blocks large enough that they fit.
  let blockBytes = 4096;
  while (Math.max(total, free) / blockBytes >= 2 ** 32) blockBytes *= 2;
  const freeBlocks = Math.floor(free / blockBytes);
  return {
    bsize: blockBytes,
    frsize: blockBytes,
    blocks: Math.floor(total / blockBytes),
    bfree: freeBlocks,
    bavail: freeBlocks,
    files: Math.min(files, 2 ** 32 - 1),
    namemax: 255,
  };
}
