import { type IdMap, idInside } from './id-map.js';

// linux/capability.h: struct vfs_ns_cap_data, whose last word is the user id of the namespace's root
const VFS_CAP_REVISION_MASK = 0xff000000;
const VFS_CAP_REVISION_2 = 0x02000000;
const VFS_CAP_REVISION_3 = 0x03000000;
const revision2Bytes = 20;
const revision3Bytes = 24;

/**
 * The value of `security.capability` as the container sees it: where the capability holds for the container's own
 * root, its third revision becomes the second, as the kernel itself shows it there.
 */
export function capabilityInside(map: IdMap, value: Uint8Array): Uint8Array {
  const capability = Buffer.from(value);
  if (capability.length !== revision3Bytes) return value;
  const magic = capability.readUInt32LE(0);
  if ((magic & VFS_CAP_REVISION_MASK) >>> 0 !== VFS_CAP_REVISION_3) return value;
  const root = idInside(map, capability.readUInt32LE(revision2Bytes));
  capability.writeUInt32LE(root, revision2Bytes);
  if (root !== 0) return capability;
  capability.writeUInt32LE(((magic & ~VFS_CAP_REVISION_MASK) | VFS_CAP_REVISION_2) >>> 0, 0);
  return capability.subarray(0, revision2Bytes);
}
