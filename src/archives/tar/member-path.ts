/** The longest path that is followed: longer than Linux takes at once, as a tree can be deeper than that. */
const mostBytes = 65_536;
const slash = 0x2f;
const dot = 0x2e;

/** A member's path, made harmless. */
export interface MemberPath {
  /** Where each part lies in the path's bytes: from, to, from, to… None: the root itself. */
  readonly parts: readonly number[];
  /** Whether the path had `..`: as GNU tar does it, all up to the last one is left out. */
  readonly cut: boolean;
}

/**
 * Splits a path into the names of folders and file, without `/` before and after, empty parts and `.`. A sentence
 * where it can be the path of no file.
 */
export function memberPath(path: Uint8Array): MemberPath | string {
  if (path.length > mostBytes) return `its path has ${path.length} bytes`;
  let parts: number[] = [];
  let cut = false;
  for (let from = 0; from < path.length; ) {
    let to = path.indexOf(slash, from);
    if (to < 0) to = path.length;
    const bytes = to - from;
    if (bytes === 2 && path[from] === dot && path[from + 1] === dot) {
      parts = [];
      cut = true;
    } else if (bytes > 255) {
      return `its path has a name of ${bytes} bytes; 255 is the most`;
    } else if (bytes > 0 && !(bytes === 1 && path[from] === dot)) {
      parts.push(from, to);
    }
    from = to + 1;
  }
  if (path.includes(0)) return 'its path has a NUL';
  return { parts, cut };
}

/**
 * Where the last name of a path begins, if the path is as most are: no `/` at its end, the name neither `.` nor `..`,
 * nor too long. -1: it has to be split.
 */
export function lastName(path: Uint8Array): number {
  const end = path.length;
  if (end === 0 || path[end - 1] === slash) return -1;
  let from = end;
  while (from > 0 && path[from - 1] !== slash) from--;
  const bytes = end - from;
  if (bytes > 255 || (path[from] === dot && (bytes === 1 || (bytes === 2 && path[from + 1] === dot))))
    return -1;
  return from;
}
