import { opendir } from 'node:fs/promises';
import { hasCode } from '../../errors.js';
import { type Name, nameToBytes } from '../../name.js';
import type { ExcludePattern } from './exclude-pattern.js';

/** What of a container is left out. */
export interface Exclusion {
  readonly patterns: readonly ExcludePattern[];
  /** Folders of which nothing but themselves is kept, relative to the root. */
  readonly emptied: ReadonlySet<Name>;
}

/**
 * The paths below a folder that are left out, relative to it; what lies below one of them is not told. Folders that are gone by now, and
 * those beyond PATH_MAX, are not looked into: what is not told is kept.
 */
export async function* excludedPaths(
  root: string,
  { patterns, emptied }: Exclusion,
  signal: AbortSignal,
): AsyncGenerator<Name, void, undefined> {
  if (patterns.length === 0 && emptied.size === 0) return;
  const folders = ['' as Name];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    for await (const { name, isFolder } of entriesOf(root, folder)) {
      signal.throwIfAborted();
      const path = (folder === '' ? name : `${folder}/${name}`) as Name;
      if (emptied.has(folder) || patterns.some((pattern) => pattern.matches(path, isFolder))) yield path;
      else if (isFolder) folders.push(path);
    }
  }
}

async function* entriesOf(
  root: string,
  folder: Name,
): AsyncGenerator<{ readonly name: Name; readonly isFolder: boolean }, void, undefined> {
  const path = Buffer.concat([Buffer.from(`${root}/`), nameToBytes(folder)]);
  try {
    // One char a byte.
    const entries = await opendir(path, { encoding: 'latin1', bufferSize: 256 });
    for await (const entry of entries) yield { name: entry.name as Name, isFolder: entry.isDirectory() };
  } catch (error) {
    if (!hasCode(error, 'ENOENT') && !hasCode(error, 'ENAMETOOLONG')) throw error;
  }
}
