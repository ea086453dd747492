import { type AclEntry, encodePosixAcl } from '../../posix-acl.js';

/** The id of a user or a group by its name. */
export type IdOfName = (kind: 'user' | 'group', name: string) => number | undefined;

const shortKinds: Readonly<Record<string, AclEntry['kind']>> = {
  user: 'user',
  u: 'user',
  group: 'group',
  g: 'group',
  mask: 'mask',
  m: 'mask',
  other: 'other',
  o: 'other',
};
/** The order that the kernel asks for; ids ascend within a kind. */
const order: ReadonlyArray<AclEntry['kind']> = ['owner', 'user', 'owningGroup', 'group', 'mask', 'other'];

/**
 * An ACL written as text (acl(5), "long text form": entries between commas or newlines; star adds the id as a fourth
 * part) in the kernel's form. Undefined: it says no more than the mode, or can't be read, as when a name has no id here.
 */
export function aclOfText(text: string, kind: 'access' | 'default', idOf: IdOfName): Uint8Array | undefined {
  const entries: AclEntry[] = [];
  for (const line of text.split(/[,\n]/)) {
    const plain = line.replace(/#.*$/, '').trim();
    if (plain === '') continue;
    const entry = entryOf(plain, idOf);
    if (!entry) return undefined;
    entries.push(entry);
  }
  const isMinimal = !entries.some((entry) => entry.id !== undefined || entry.kind === 'mask');
  if (entries.length === 0 || (kind === 'access' && isMinimal)) return undefined;
  entries.sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind) || (a.id ?? 0) - (b.id ?? 0));
  return encodePosixAcl(entries);
}

function entryOf(line: string, idOf: IdOfName): AclEntry | undefined {
  const parts = line.split(':').map((part) => part.trim());
  const kind = shortKinds[parts[0] ?? ''];
  if (!kind) return undefined;
  // `mask` and `other` may be written with one colon.
  if ((kind === 'mask' || kind === 'other') && parts.length === 2) parts.splice(1, 0, '');
  const [, name = '', rights = '', number = ''] = parts;
  if (!/^[r-]?[w-]?[x-]?$/.test(rights)) return undefined;
  const permissions =
    (rights.includes('r') ? 4 : 0) | (rights.includes('w') ? 2 : 0) | (rights.includes('x') ? 1 : 0);
  if (kind !== 'user' && kind !== 'group') return { kind, permissions };
  if (name === '') return { kind: kind === 'user' ? 'owner' : 'owningGroup', permissions };
  const id = idOfText(number) ?? idOfText(name) ?? idOf(kind, name);
  return id === undefined ? undefined : { kind, permissions, id };
}

function idOfText(text: string): number | undefined {
  return /^\d{1,10}$/.test(text) && Number(text) < 2 ** 32 ? Number(text) : undefined;
}
