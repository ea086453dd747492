import { readFile } from 'node:fs/promises';
import type { IdOfName } from './acl-text.js';

/** Reads a file of the archive by its path, a small one only; undefined: there is none. */
export type ReadSmallFile = (path: readonly string[]) => Promise<Buffer | undefined>;

/**
 * The ids of the users and groups that ACLs name (GNU tar writes their names): as the archive's own /etc/passwd and
 * /etc/group have them, else this machine's, where `tar -x` looks.
 */
export async function accountNames(readFromArchive: ReadSmallFile): Promise<IdOfName> {
  const [user, group] = await Promise.all([
    idsOf('passwd', readFromArchive),
    idsOf('group', readFromArchive),
  ]);
  const ids = { user, group };
  return (kind, name) => ids[kind].get(name);
}

async function idsOf(file: 'passwd' | 'group', readFromArchive: ReadSmallFile): Promise<Map<string, number>> {
  const ids = new Map<string, number>();
  const own = await readFile(`/etc/${file}`).catch(() => undefined);
  const archived = await readFromArchive(['etc', file]);
  for (const text of [own, archived]) {
    for (const line of text?.toString('latin1').split('\n') ?? []) {
      // name:password:id:…
      const [name, , id] = line.split(':');
      if (name && id && /^\d{1,10}$/.test(id)) ids.set(name, Number(id));
    }
  }
  return ids;
}
