import { posix } from 'node:path';
import { openLayout } from '../../../src/layout/layout.js';
import { silent } from '../../../src/log.js';
import { nameFromText } from '../../../src/name.js';
import type { Attributes } from '../../../src/tree/attributes.js';
import type { Change, Tree } from '../../../src/tree/tree.js';
import { MemoryGuest, type MemorySnapshot } from './memory-guest.js';
import { inodeAt, unending } from './walk.js';

const trees: Tree[] = [];

export function layoutOf(...guests: MemoryGuest[]): Tree {
  const tree = openLayout({ stores: [], guests, log: silent });
  trees.push(tree);
  return tree;
}

/** Closes what `layoutOf` has opened. */
export async function closeTrees(): Promise<void> {
  for (const tree of trees.splice(0)) await tree.close();
}

export const snapshots = 'guests/100/snapshots';
export const full = `${snapshots}/full`;
export const raw = `${full}/disks/drive-scsi0.raw`;

export async function mkdir(tree: Tree, path: string, signal = unending): Promise<Attributes> {
  const { mkdir: make } = tree;
  if (!make) throw new Error('the tree makes no folders');
  const { dir, base } = posix.parse(path);
  return (await make.call(tree, await inodeAt(tree, dir), nameFromText(base), 0o755, signal)).attributes;
}

export async function rmdir(tree: Tree, path: string, signal = unending): Promise<void> {
  const { dir, base } = posix.parse(path);
  await tree.rmdir?.(await inodeAt(tree, dir), nameFromText(base), signal);
}

/** Writes as a shell does: cuts the file, then writes once. */
export async function write(tree: Tree, path: string, text: string, offset = 0): Promise<void> {
  const inode = await inodeAt(tree, path);
  const { handle } = await tree.open(inode, 'write', unending);
  try {
    await tree.truncate?.(inode, 0, unending);
    await tree.write?.(handle, offset, Buffer.from(text), unending);
  } finally {
    await tree.release(handle);
  }
}

/** A tree with one guest of which one snapshot, `full`, is taken. */
export async function taken(guest = new MemoryGuest('100')): Promise<{
  tree: Tree;
  guest: MemoryGuest;
  snapshot: MemorySnapshot;
}> {
  const tree = layoutOf(guest);
  await mkdir(tree, full);
  const [snapshot] = guest.snapshots;
  if (!snapshot) throw new Error('nothing was taken');
  return { tree, guest, snapshot };
}

export function changesOf(tree: Tree): Change[] {
  const changes: Change[] = [];
  tree.watch?.((change) => changes.push(change));
  return changes;
}
