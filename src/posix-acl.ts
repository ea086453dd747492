import { StillError } from './errors.js';
import { type IdMaps, idInside } from './id-map.js';

// linux/posix_acl_xattr.h: u32 version, then entries of u16 tag, u16 permissions, u32 id
const version = 2;
const headerBytes = 4;
const entryBytes = 8;

/** Entry kinds of linux/posix_acl.h; only named users and groups carry an id. */
const tagOf = { owner: 0x01, user: 0x02, owningGroup: 0x04, group: 0x08, mask: 0x10, other: 0x20 } as const;
const kindOf = new Map(Object.entries(tagOf).map(([kind, tag]) => [tag, kind as AclEntry['kind']]));
const noId = 0xffff_ffff;

/** An entry of a POSIX access control list. */
export interface AclEntry {
  readonly kind: keyof typeof tagOf;
  /** Read 4, write 2, execute 1. */
  readonly permissions: number;
  /** Of a named `user` or `group`. */
  readonly id?: number;
}

/** Reads a value of `system.posix_acl_access` or `system.posix_acl_default`. EIO: it is none. */
export function parsePosixAcl(value: Uint8Array): AclEntry[] {
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  const wellFormed = bytes.length >= headerBytes && (bytes.length - headerBytes) % entryBytes === 0;
  if (!wellFormed || bytes.readUInt32LE(0) !== version) {
    throw new StillError('EIO', `${bytes.length} bytes are no POSIX ACL of version ${version}`);
  }
  const entries: AclEntry[] = [];
  for (let at = headerBytes; at < bytes.length; at += entryBytes) {
    const tag = bytes.readUInt16LE(at);
    const kind = kindOf.get(tag as (typeof tagOf)[keyof typeof tagOf]);
    if (!kind) throw new StillError('EIO', `a POSIX ACL has an entry of the unknown kind ${tag}`);
    const permissions = bytes.readUInt16LE(at + 2);
    const named = kind === 'user' || kind === 'group';
    entries.push({ kind, permissions, ...(named && { id: bytes.readUInt32LE(at + 4) }) });
  }
  return entries;
}

/** The value of an extended attribute that holds these entries. */
export function encodePosixAcl(entries: readonly AclEntry[]): Uint8Array {
  const bytes = Buffer.alloc(headerBytes + entries.length * entryBytes);
  bytes.writeUInt32LE(version, 0);
  for (const [index, { kind, permissions, id }] of entries.entries()) {
    const at = headerBytes + index * entryBytes;
    bytes.writeUInt16LE(tagOf[kind], at);
    bytes.writeUInt16LE(permissions, at + 2);
    bytes.writeUInt32LE(id ?? noId, at + 4);
  }
  return bytes;
}

/** The same list with the ids that are seen inside. */
export function posixAclInside(value: Uint8Array, { users, groups }: IdMaps): Uint8Array {
  return encodePosixAcl(
    parsePosixAcl(value).map((entry) =>
      entry.id === undefined
        ? entry
        : { ...entry, id: idInside(entry.kind === 'group' ? groups : users, entry.id) },
    ),
  );
}
