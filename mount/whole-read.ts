import { StillError } from '../src/errors.js';
import type { Inode } from '../src/tree/attributes.js';
import type { Tree } from '../src/tree/tree.js';

/** Which bytes of which open file to read. */
export interface WholeRead {
  readonly tree: Tree;
  readonly inode: Inode;
  /** What `tree.open` gave. */
  readonly handle: number;
  /** The size that `tree.open` gave, if it did. */
  readonly size?: number | undefined;
  /** Bytes from the start of the file. */
  readonly offset: number;
  /** For the error's sentence. */
  readonly path: () => string;
}

/**
 * Reads into `target` and says how many bytes: all of it, or fewer where the file ends. EIO where a tree gives fewer
 * before that: a short answer to a cached read would make the kernel cut the file there, in silence.
 */
export async function readWhole(read: WholeRead, target: Uint8Array, signal: AbortSignal): Promise<number> {
  const { tree, inode, handle, offset } = read;
  const length = await tree.read(handle, offset, target, signal);
  if (length === target.byteLength) return length;
  const size = read.size ?? (await tree.attributes(inode, signal)).size;
  if (offset + length >= size) return length;
  throw new StillError(
    'EIO',
    `${read.path()} gave ${length} of ${target.byteLength} bytes at ${offset}, before its end at ${size}`,
  );
}
