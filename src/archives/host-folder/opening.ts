import { close, closeSync, constants } from 'node:fs';
import { hasCode } from '../../errors.js';
import type { Name } from '../../name.js';
import { O_PATH, openBeneath, openBeneathIfCached } from '../../posix/openat2.js';
import type { QueueDepth } from '../../queue-depth.js';
import { type Place, piecesOf } from './place.js';

/**
 * Opens what lies at a place, beneath a root, and follows no symlink on the way: at once where the kernel has the path
 * cached, in the pool where it must ask the disk or a server. The caller closes the descriptor.
 */
export async function openPlace(
  root: number,
  depth: QueueDepth,
  place: Place,
  flags: number,
  signal: AbortSignal,
): Promise<number> {
  const pieces = piecesOf(place);
  let folder = root;
  try {
    for (const [index, piece] of pieces.entries()) {
      const isLast = index === pieces.length - 1;
      const next = await openPiece(
        folder,
        depth,
        piece,
        isLast ? flags : O_PATH | constants.O_DIRECTORY,
        signal,
      );
      if (folder !== root) closeNamed(folder);
      folder = next;
    }
    return folder;
  } catch (error) {
    if (folder !== root) closeNamed(folder);
    throw error;
  }
}

async function openPiece(
  folder: number,
  depth: QueueDepth,
  path: Name,
  flags: number,
  signal: AbortSignal,
): Promise<number> {
  // Only naming a file never waits once its path is cached; opening it may (a server is asked).
  if ((flags & O_PATH) !== 0) {
    try {
      return openBeneathIfCached(folder, path, flags);
    } catch (error) {
      if (!hasCode(error, 'EAGAIN')) throw error;
    }
  }
  return depth.run(() => openBeneath(folder, path, flags), signal, closeLate);
}

/** Closes a descriptor that only names a file: that never waits. */
export function closeNamed(descriptor: number): void {
  closeSync(descriptor);
}

/** Closes an open file, which may wait for a server. It was only read: a failing close loses nothing. */
export function closeLate(descriptor: number): void {
  close(descriptor, () => undefined);
}
