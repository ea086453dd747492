import { constants } from 'node:fs';
import { StillError } from '../../../src/errors.js';
import type { Access } from '../../../src/tree/tree.js';
import type { Node } from '../../forest/forest.js';
import { readWhole } from '../../whole-read.js';
import type { OpenFile } from '../open-files.js';
import type { PathMount } from '../path-mount.js';

const accessOf: Readonly<Record<number, Access>> = {
  [constants.O_RDONLY]: 'read',
  [constants.O_WRONLY]: 'write',
  [constants.O_RDWR]: 'read-write',
};
const O_ACCMODE = 3;

/** Opens the file at a path, and gives the number that stands for it. */
export function openFile(
  mount: PathMount,
  path: string,
  flags: number,
  signal: AbortSignal,
): Promise<number> {
  const access = accessOf[flags & O_ACCMODE] ?? 'read-write';
  return mount.paths.use(path, signal, async (node) => {
    const { tree } = node.planted;
    if (access !== 'read' && (mount.readOnly || !(tree.write || tree.discard))) {
      throw new StillError('EROFS', `${path} can't be opened for writing`);
    }
    const { handle, size } = await tree.open(node.inode, access, signal);
    const file = { node, handle, size, letGo: mount.forest.hold(node) };
    if (!signal.aborted) return mount.files.add(file);
    // Whoever asked has been told that it failed.
    await closeFile(file);
    throw signal.reason;
  });
}

/** The bytes of an open file: as many as were asked for, or fewer at its end. */
export async function readFile(
  mount: PathMount,
  path: string,
  range: { readonly number: number; readonly offset: number; readonly length: number },
  signal: AbortSignal,
): Promise<Uint8Array> {
  const { node, handle, size } = mount.files.get(range.number);
  const { tree } = node.planted;
  // Not libfuse's memory: a tree may write to its target after the answer.
  const target = Buffer.allocUnsafe(range.length);
  const read = { tree, inode: node.inode, handle, size, offset: range.offset, path: () => path };
  return target.subarray(0, await readWhole(read, target, signal));
}

export async function writeFile(
  mount: PathMount,
  path: string,
  number: number,
  offset: number,
  bytes: Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  const { node, handle } = mount.files.get(number);
  const { tree } = node.planted;
  if (!tree.write) throw new StillError('EROFS', `${path} can't be written`);
  await tree.write(handle, offset, bytes, signal);
}

export async function syncFile(mount: PathMount, number: number, signal: AbortSignal): Promise<void> {
  const { node, handle } = mount.files.get(number);
  await node.planted.tree.sync?.(handle, signal);
}

export async function truncateFile(
  mount: PathMount,
  path: string,
  node: Node,
  size: number,
  signal: AbortSignal,
): Promise<void> {
  const { tree } = node.planted;
  if (mount.readOnly || !tree.truncate) {
    throw new StillError('EROFS', `the length of ${path} can't be changed`);
  }
  await tree.truncate(node.inode, size, signal);
}

export async function closeFile(file: OpenFile): Promise<void> {
  try {
    await file.node.planted.tree.release(file.handle);
  } finally {
    file.letGo();
  }
}
