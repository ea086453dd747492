import type { Name } from '../name.js';

/** A line of /etc/fstab, as fstab(5) tells it. */
export interface FstabEntry {
  /** What is mounted: `UUID=…`, `LABEL=…`, `/dev/sda1`… */
  readonly source: string;
  /** Where, as the names that lead there; none for the root. */
  readonly path: readonly Name[];
  readonly type: string;
  readonly options: ReadonlySet<string>;
}

/** A table longer than this is not gone through, bytes. */
export const mostFstabBytes = 1 << 20;

/**
 * The lines of a table that mount something at a place: not swap, and not what has no place. Comments, lines that are cut
 * short and paths that lead upwards are passed over, as mount(8) does or would refuse to.
 */
export function parseFstab(bytes: Buffer): FstabEntry[] {
  return bytes
    .toString('latin1')
    .split('\n')
    .flatMap((line): FstabEntry[] => {
      const [source = '', place = '', type = '', options = 'defaults'] = line.trim().split(/[ \t]+/);
      if (source === '' || source.startsWith('#') || type === '' || type === 'swap') return [];
      const path = pathOf(place);
      if (!path) return [];
      return [{ source: unescaped(source), path, type, options: new Set(options.split(',')) }];
    });
}

/** The names of an absolute path without `.` and `..`. Undefined: it is none. */
function pathOf(place: string): readonly Name[] | undefined {
  if (!place.startsWith('/')) return undefined;
  const names = unescaped(place)
    .split('/')
    .filter((name) => name !== '' && name !== '.');
  return names.some((name) => name === '..' || name.length > 255) ? undefined : (names as Name[]);
}

/** Spaces, tabs, line ends and backslashes are written as octal numbers: `\040`. */
function unescaped(field: string): string {
  return field.replace(/\\([0-3][0-7]{2})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}
