import { StillError } from '../../errors.js';
import { type AclEntry, encodePosixAcl } from '../../posix-acl.js';

// linux fs/ext4/acl.h: struct ext4_acl_header, then struct ext4_acl_entry, or ext4_acl_entry_short where no id is needed
const version = 1;
const headerBytes = 4;
const shortBytes = 4;
const longBytes = 8;

const kinds = new Map<number, AclEntry['kind']>([
  [0x01, 'owner'],
  [0x02, 'user'],
  [0x04, 'owningGroup'],
  [0x08, 'group'],
  [0x10, 'mask'],
  [0x20, 'other'],
]);

/** Makes what `system.posix_acl_access` and `_default` hold of an access control list as ext4 stores it. EIO: it is none. */
export function posixAclOf(stored: Buffer): Uint8Array {
  if (stored.length < headerBytes || stored.readUInt32LE(0) !== version)
    throw new StillError(
      'EIO',
      `an access control list of ${stored.length} bytes is none of version ${version}`,
    );
  const entries: AclEntry[] = [];
  for (let at = headerBytes; at < stored.length; ) {
    const kind = at + shortBytes <= stored.length ? kinds.get(stored.readUInt16LE(at)) : undefined;
    const bytes = kind === 'user' || kind === 'group' ? longBytes : shortBytes;
    if (kind === undefined || at + bytes > stored.length)
      throw new StillError('EIO', `an access control list has no entry at byte ${at} that is known`);
    const permissions = stored.readUInt16LE(at + 2);
    entries.push({ kind, permissions, ...(bytes === longBytes && { id: stored.readUInt32LE(at + 4) }) });
    at += bytes;
  }
  return encodePosixAcl(entries);
}
