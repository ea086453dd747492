import type { Inode } from '../../attributes.js';
import type { Opened, Tree } from '../../tree.js';
import { mostWhole } from './reading-order.js';

/** The size of an opened file that goes over as a whole. Undefined: it has to be read piece by piece. */
export async function wholeSize(
  tree: Tree,
  { cache }: Opened,
  inode: Inode,
  signal: AbortSignal,
): Promise<number | undefined> {
  // A tree that tells of changes may tell of one in this file.
  if (cache !== 'keep' || tree.watch) return undefined;
  const { size, allocated } = await tree.attributes(inode, signal);
  const hasHoles = allocated < size;
  return size > mostWhole || hasHoles ? undefined : size;
}

/** All that an opened file holds, which is closed then. Undefined: it stays open, for it is to be read piece by piece. */
export async function wholeFile(
  tree: Tree,
  opened: Opened,
  inode: Inode,
  signal: AbortSignal,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  try {
    const size = await wholeSize(tree, opened, inode, signal);
    if (size === undefined) return undefined;
    const content = new Uint8Array(new ArrayBuffer(size));
    if ((await tree.read(opened.handle, 0, content, signal)) < size) return undefined;
    await tree.release(opened.handle);
    return content;
  } catch (error) {
    if (signal.aborted) {
      await tree.release(opened.handle);
      throw error;
    }
    // Who reads the file will be told.
    return undefined;
  }
}
