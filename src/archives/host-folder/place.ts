import type { Name } from '../../name.js';

/**
 * Where a file was found: a name in a folder that was found before. A folder's place lives as long as something in it
 * is known, without being counted.
 */
export interface Place {
  readonly folder: Place | undefined;
  readonly name: Name;
}

export const rootPlace: Place = { folder: undefined, name: '' as Name };

/** The longest path that one call takes (PATH_MAX, with its NUL). */
const longestPath = 4095;

/** The path from the root to a place, in pieces that a system call takes: each one leads on from the one before. */
export function piecesOf(place: Place): Name[] {
  const names: Name[] = [];
  for (let at: Place | undefined = place; at?.folder; at = at.folder) names.unshift(at.name);
  const pieces: Name[] = [];
  for (const name of names) {
    const last = pieces.at(-1);
    if (last !== undefined && last.length + 1 + name.length <= longestPath)
      pieces[pieces.length - 1] = `${last}/${name}` as Name;
    else pieces.push(name);
  }
  return pieces.length === 0 ? ['' as Name] : pieces;
}
