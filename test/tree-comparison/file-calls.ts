import { constants } from 'node:os';
import koffi from 'koffi';
import { cString } from '../../src/posix/call.js';

// The calls that Node lacks, synchronous: the comparison has a process of its own.
const libc = koffi.load(null);
const llistxattr = libc.func('intptr_t llistxattr(const void *path, void *list, size_t size)');
const lgetxattr = libc.func(
  'intptr_t lgetxattr(const void *path, const void *name, void *value, size_t size)',
);
const lseek = libc.func('int64_t lseek(int descriptor, int64_t offset, int whence)');
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const largest = 65536;
const room = Buffer.alloc(largest);

function check(result: number | bigint, call: string): number {
  if (Number(result) >= 0) return Number(result);
  const errno = koffi.errno();
  const code = Object.entries(constants.errno).find(([, number]) => number === errno)?.[0];
  throw Object.assign(new Error(`${call}: ${code}`), { code });
}

const compared = /^(user\.|trusted\.|security\.capability$|system\.posix_acl_)/;

/** The extended attributes that a backup is to keep, by their names (one char a byte), values in hex. */
export function readXattrs(path: Buffer): Map<string, string> {
  const terminated = cString(path);
  let length: number;
  try {
    length = check(llistxattr(terminated, room, largest), 'llistxattr');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EOPNOTSUPP') return new Map();
    throw error;
  }
  if (length === 0) return new Map();
  const names = room.toString('latin1', 0, length).split('\0').slice(0, -1);
  const found = new Map<string, string>();
  for (const name of names.filter((each) => compared.test(each)).sort()) {
    const size = check(
      lgetxattr(terminated, cString(Buffer.from(name, 'latin1')), room, largest),
      'lgetxattr',
    );
    found.set(name, room.toString('hex', 0, size));
  }
  return found;
}

/** The next data or hole of an open file; undefined where none follows. */
export function seekSync(descriptor: number, offset: number, wanted: 'data' | 'hole'): number | undefined {
  try {
    return check(lseek(descriptor, offset, wanted === 'data' ? SEEK_DATA : SEEK_HOLE), 'lseek');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENXIO') return undefined;
    throw error;
  }
}
