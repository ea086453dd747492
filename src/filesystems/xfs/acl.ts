import { StillError } from '../../errors.js';
import { type Name, nameFromText } from '../../name.js';
import type { AclEntry } from '../../posix-acl.js';

// struct xfs_acl of linux/fs/xfs/libxfs/xfs_format.h, big-endian: a count, then entries of kind, id, permissions and a gap
const headerBytes = 4;
const entryBytes = 12;

const kinds = new Map<number, AclEntry['kind']>([
  [0x01, 'owner'],
  [0x02, 'user'],
  [0x04, 'owningGroup'],
  [0x08, 'group'],
  [0x10, 'mask'],
  [0x20, 'other'],
]);

/** Where ACLs are kept among the trusted attributes, and as what Linux shows them. */
export const aclNames: ReadonlyMap<Name, Name> = new Map([
  [nameFromText('SGI_ACL_FILE'), nameFromText('system.posix_acl_access')],
  [nameFromText('SGI_ACL_DEFAULT'), nameFromText('system.posix_acl_default')],
]);

/** EIO: it is none. */
export function parseAcl(bytes: Buffer, inode: number): AclEntry[] {
  const count = bytes.length >= headerBytes ? bytes.readUInt32BE(0) : 0;
  if (headerBytes + count * entryBytes > bytes.length) throw damaged(inode, `${count} entries`);
  return Array.from({ length: count }, (_, index) => {
    const at = headerBytes + index * entryBytes;
    const kind = kinds.get(bytes.readUInt32BE(at));
    if (!kind) throw damaged(inode, `an entry of the kind ${bytes.readUInt32BE(at)}`);
    const isNamed = kind === 'user' || kind === 'group';
    return {
      kind,
      permissions: bytes.readUInt16BE(at + 8),
      ...(isNamed && { id: bytes.readUInt32BE(at + 4) }),
    };
  });
}

function damaged(inode: number, how: string): StillError {
  return new StillError('EIO', `an ACL of inode ${inode} is damaged: ${how}`);
}
