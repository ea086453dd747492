import { hasCode } from '../errors.js';
import type { Name } from '../name.js';
import { nameFromBytes, nameToBytes, nameToText } from '../name.js';
import { cString, systemCall } from './call.js';

const getxattr = systemCall(
  'intptr_t getxattr(const char *path, const void *name, void *value, size_t size)',
);
const listxattr = systemCall('intptr_t listxattr(const char *path, void *list, size_t size)');

/** The largest value and the longest list that Linux allows: XATTR_SIZE_MAX, XATTR_LIST_MAX (linux/limits.h). */
export const largestXattr = 65536;

// The fxattr calls refuse O_PATH descriptors; the magic link names the very same file, symlinks included.
const pathOf = (descriptor: number): string => `/proc/self/fd/${descriptor}`;

/** The value of an extended attribute of the file that a descriptor stands for (O_PATH is enough). ENODATA: no such one. */
export async function getXattr(descriptor: number, name: Name): Promise<Uint8Array> {
  const subject = `attribute ${nameToText(name)}`;
  for (let room = 256; ; room = largestXattr) {
    const value = new Uint8Array(room);
    try {
      const length = await getxattr.later(
        subject,
        pathOf(descriptor),
        cString(nameToBytes(name)),
        value,
        room,
      );
      return value.subarray(0, length);
    } catch (error) {
      if (room === largestXattr || !hasCode(error, 'ERANGE')) throw error;
    }
  }
}

/** The names of the extended attributes of the file that a descriptor stands for (O_PATH is enough). */
export async function listXattrs(descriptor: number): Promise<Name[]> {
  for (let room = 1024; ; room = largestXattr) {
    const list = new Uint8Array(room);
    try {
      const length = await listxattr.later('extended attributes', pathOf(descriptor), list, room);
      return nameFromBytes(list.subarray(0, length)).split('\0').slice(0, -1) as Name[];
    } catch (error) {
      if (hasCode(error, 'EOPNOTSUPP')) return [];
      if (room === largestXattr || !hasCode(error, 'ERANGE')) throw error;
    }
  }
}
