import type { Name } from '../../../../src/name.js';
import type { Attributes, Inode } from '../../../../src/tree/attributes.js';
import type { Entry, Tree } from '../../../../src/tree/tree.js';

export const unhurried = new AbortController().signal;

/** All entries of a folder. */
export async function listAll(tree: Tree, folder: Inode): Promise<Entry[]> {
  const entries: Entry[] = [];
  for (let after = 0n; ; ) {
    const piece = await tree.list(folder, after, unhurried);
    const last = piece.at(-1);
    if (!last) return entries;
    entries.push(...piece);
    after = last.cookie;
  }
}

/** Looks a name up that must be there. */
export async function find(tree: Tree, ...path: string[]): Promise<Attributes> {
  let at = await tree.attributes(tree.root, unhurried);
  for (const name of path) {
    const { attributes } = await tree.lookup(
      at.inode,
      Buffer.from(name).toString('latin1') as Name,
      unhurried,
    );
    if (!attributes) throw new Error(`${name} of ${path.join('/')} is not there`);
    at = attributes;
  }
  return at;
}

/** Each file below the root, by its path (one char a byte), as a look-up tells of it. */
export async function* walk(
  tree: Tree,
  folder: Inode = tree.root,
  path = '',
): AsyncGenerator<{ path: string; attributes: Attributes }> {
  for (const { name } of await listAll(tree, folder)) {
    const { attributes } = await tree.lookup(folder, name, unhurried);
    if (!attributes) throw new Error(`${path}${name} was listed and is not there`);
    yield { path: `${path}${name}`, attributes };
    if (attributes.type === 'directory') yield* walk(tree, attributes.inode, `${path}${name}/`);
  }
}

/** A whole file. */
export async function contentOf(tree: Tree, { inode, size }: Attributes): Promise<Buffer> {
  const { handle } = await tree.open(inode, 'read', unhurried);
  try {
    const bytes = Buffer.alloc(size + 10);
    const length = await tree.read(handle, 0, bytes, unhurried);
    return bytes.subarray(0, length);
  } finally {
    await tree.release(handle);
  }
}
