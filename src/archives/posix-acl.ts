import { type IdMap, idInside } from './id-map.js';

// linux/posix_acl_xattr.h: u32 version 2, then rows of u16 tag, u16 permissions, u32 id
const version = 2;
const headerBytes = 4;
const rowBytes = 8;
const ACL_USER = 0x02;
const ACL_GROUP = 0x08;

/** The value of a `system.posix_acl_*` attribute with the ids that the container sees. One that is no ACL stays as it is. */
export function aclInside(map: IdMap, value: Uint8Array): Uint8Array {
  const acl = Buffer.from(value);
  if (acl.length < headerBytes || acl.readUInt32LE(0) !== version) return value;
  for (let at = headerBytes; at + rowBytes <= acl.length; at += rowBytes) {
    const tag = acl.readUInt16LE(at);
    if (tag === ACL_USER || tag === ACL_GROUP)
      acl.writeUInt32LE(idInside(map, acl.readUInt32LE(at + 4)), at + 4);
  }
  return acl;
}
