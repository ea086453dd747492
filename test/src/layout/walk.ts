import { nameFromText, nameToText } from '../../../src/name.js';
import type { Attributes, Inode } from '../../../src/tree/attributes.js';
import type { Entry, Tree } from '../../../src/tree/tree.js';

/** For what no test aborts. */
export const unending = new AbortController().signal;

/** Looks a path up from the root, as a mount does; undefined where it is not there. */
export async function find(tree: Tree, path: string, signal = unending): Promise<Attributes | undefined> {
  let attributes = await tree.attributes(tree.root, signal);
  for (const part of path.split('/').filter((text) => text !== '')) {
    const found = await tree.lookup(attributes.inode, nameFromText(part), signal);
    if (!found.attributes) return undefined;
    attributes = found.attributes;
  }
  return attributes;
}

export async function inodeAt(tree: Tree, path: string): Promise<Inode> {
  const found = await find(tree, path);
  if (!found) throw new Error(`${path} is not there`);
  return found.inode;
}

/** All entries of a folder, by as many calls as it takes. */
export async function entriesAt(tree: Tree, path: string): Promise<Entry[]> {
  const folder = await inodeAt(tree, path);
  const entries: Entry[] = [];
  for (let after = 0n; ; ) {
    const some = await tree.list(folder, after, unending);
    const last = some.at(-1);
    if (!last) return entries;
    entries.push(...some);
    after = last.cookie;
  }
}

export async function namesAt(tree: Tree, path: string): Promise<string[]> {
  return (await entriesAt(tree, path)).map(({ name }) => nameToText(name)).sort();
}

/** A whole file, read in pieces of a size that divides nothing. */
export async function bytesAt(tree: Tree, path: string, piece = 99_991): Promise<Buffer> {
  const inode = await inodeAt(tree, path);
  const { handle } = await tree.open(inode, 'read', unending);
  const pieces: Buffer[] = [];
  try {
    for (let offset = 0; ; ) {
      const target = Buffer.alloc(piece);
      const length = await tree.read(handle, offset, target, unending);
      pieces.push(target.subarray(0, length));
      offset += length;
      if (length < piece) return Buffer.concat(pieces);
    }
  } finally {
    await tree.release(handle);
  }
}

export async function textAt(tree: Tree, path: string): Promise<string> {
  return (await bytesAt(tree, path)).toString('utf8');
}

/** The target of a symlink. */
export async function linkAt(tree: Tree, path: string): Promise<string> {
  return Buffer.from(await tree.readlink(await inodeAt(tree, path), unending)).toString('utf8');
}

/** The data of a file as SEEK_DATA and SEEK_HOLE tell it: [start, end) pairs. */
export async function dataAt(tree: Tree, path: string): Promise<Array<[number, number]>> {
  const { handle } = await tree.open(await inodeAt(tree, path), 'read', unending);
  const ranges: Array<[number, number]> = [];
  try {
    for (let offset = 0; ; ) {
      const start = await tree.seek?.(handle, offset, 'data', unending).catch((error: unknown) => {
        if (error instanceof Error && 'code' in error && error.code === 'ENXIO') return undefined;
        throw error;
      });
      if (start === undefined) return ranges;
      const end = await tree.seek?.(handle, start, 'hole', unending);
      if (end === undefined) throw new Error('the tree can not seek');
      ranges.push([start, end]);
      offset = end;
    }
  } finally {
    await tree.release(handle);
  }
}
