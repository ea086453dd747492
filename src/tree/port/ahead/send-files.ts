import type { Inode } from '../../attributes.js';
import type { Tree } from '../../tree.js';
import type { PackedFiles } from './files-ahead.js';
import { wholeSize } from './whole-file.js';

/** Files that were not asked for yet are sent when there are so many bytes of them. */
const enoughBytes = 64 * 1024;

/** A file that is open, and will be sent before anybody asks for it. */
interface OpenedAhead {
  readonly inode: Inode;
  readonly handle: number;
  readonly size: number;
}

/**
 * Sends small files that nobody has asked for yet, one after the other: whoever asks for something meanwhile is answered. A file that
 * can't be read is left out; who opens it will be told why.
 */
export async function sendFiles(
  tree: Tree,
  inodes: readonly Inode[],
  send: (files: PackedFiles) => void,
  signal: AbortSignal,
): Promise<void> {
  let opened: OpenedAhead[] = [];
  let bytes = 0;
  for (const inode of inodes) {
    const file = await openAhead(tree, inode, signal);
    if (file) {
      opened.push(file);
      bytes += file.size;
    }
    if (bytes < enoughBytes && inode !== inodes.at(-1)) continue;
    const files = await readAndClose(tree, opened, bytes, signal);
    if (!signal.aborted && files.inodes.length > 0) send(files);
    opened = [];
    bytes = 0;
  }
}

async function openAhead(tree: Tree, inode: Inode, signal: AbortSignal): Promise<OpenedAhead | undefined> {
  try {
    const opened = await tree.open(inode, 'read', signal);
    try {
      const size = await wholeSize(tree, opened, inode, signal);
      if (size !== undefined) return { inode, handle: opened.handle, size };
    } catch {
      // Who reads the file will be told.
    }
    await tree.release(opened.handle);
  } catch {
    // Who opens the file will be told.
  }
  return undefined;
}

/** Reads opened files one behind the other into memory that goes over, and closes them. */
async function readAndClose(
  tree: Tree,
  opened: readonly OpenedAhead[],
  bytes: number,
  signal: AbortSignal,
): Promise<PackedFiles> {
  const memory = new ArrayBuffer(bytes);
  const inodes: Inode[] = [];
  const ends: number[] = [];
  let end = 0;
  let failed = false;
  for (const { inode, handle, size } of opened) {
    try {
      // Behind a read that failed nothing is put: it may still write to its place.
      if (!failed && (await tree.read(handle, 0, new Uint8Array(memory, end, size), signal)) === size) {
        end += size;
        inodes.push(inode);
        ends.push(end);
      } else failed = true;
    } catch {
      // Who opens the file will be told.
      failed = true;
    }
    await tree.release(handle).catch(() => undefined);
  }
  return { inodes, ends, memory };
}
