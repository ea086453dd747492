import { readFile } from 'node:fs/promises';

/** A line of /proc/self/mountinfo, proc(5). */
export interface Mount {
  readonly id: number;
  /** `major:minor` of what stat(2) calls st_dev. */
  readonly device: string;
  readonly mountpoint: string;
  readonly type: string;
  readonly source: string;
}

/** What is mounted in this process' namespace, in the order in which it was mounted. */
export async function mountTable(): Promise<Mount[]> {
  return parseMountTable(await readFile('/proc/self/mountinfo', 'latin1'));
}

/** Parses mountinfo, read with one char a byte. A line that is not of its form is left out. */
export function parseMountTable(text: string): Mount[] {
  return text.split('\n').flatMap((line) => {
    // 36 35 98:0 /root /mountpoint options (optional fields) - type source options
    const fields = line.split(' ');
    const [id, , device, , mountpoint] = fields;
    // Counted, not searched for: a source may be "-" too.
    const dash = fields.indexOf('-', 6);
    const [type, source] = dash === -1 ? [] : fields.slice(dash + 1);
    if (!id || !device || !mountpoint || !type || source === undefined) return [];
    return [{ id: Number(id), device, mountpoint: decoded(mountpoint), type, source: decoded(source) }];
  });
}

/** Space, tab, newline and backslash are written as a backslash and three octal digits. */
function decoded(field: string): string {
  const bytes = field.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

/** The mount that is seen at a path: the last one made there. */
export function mountAt(table: readonly Mount[], path: string): Mount | undefined {
  return table.findLast((mount) => mount.mountpoint === path);
}

/** Whether a mount is one that stillfs made. */
export function isStillfs(mount: Mount): boolean {
  return mount.type === 'fuse.stillfs';
}

export function isFuse(mount: Mount): boolean {
  return mount.type === 'fuse' || mount.type.startsWith('fuse.');
}
