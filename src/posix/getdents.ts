import type { Name } from '../name.js';
import { nameFromBytes } from '../name.js';
import type { FileType } from '../tree/attributes.js';
import { systemCall } from './call.js';

const getdents64 = systemCall('intptr_t getdents64(int descriptor, void *entries, size_t size)');
const lseek = systemCall('int64_t lseek(int descriptor, int64_t offset, int whence)');
const SEEK_SET = 0;

/** A row of a folder as getdents64(2) gives it. */
export interface DirectoryRow {
  readonly name: Name;
  readonly inode: bigint;
  /** Undefined where the file system does not tell (DT_UNKNOWN). */
  readonly type: FileType | undefined;
  /** Where to go on after this row (d_off); opaque, 64 bits. */
  readonly next: bigint;
}

const typeOf: Readonly<Record<number, FileType>> = {
  1: 'fifo',
  2: 'character',
  4: 'directory',
  6: 'block',
  8: 'file',
  10: 'symlink',
  12: 'socket',
};

/** Some rows of an open folder after a position (0n: from the start), `.` and `..` too; none at its end. */
export async function readDirectory(
  descriptor: number,
  after: bigint,
  room = 32768,
): Promise<DirectoryRow[]> {
  await lseek.later('a folder', descriptor, BigInt.asIntN(64, after), SEEK_SET);
  const bytes = Buffer.allocUnsafe(room);
  const length = await getdents64.later('a folder', descriptor, bytes, room);
  const rows: DirectoryRow[] = [];
  // struct linux_dirent64: u64 d_ino, s64 d_off, u16 d_reclen, u8 d_type, name up to a NUL
  for (let at = 0; at < length; at += bytes.readUInt16LE(at + 16)) {
    const end = bytes.indexOf(0, at + 19);
    rows.push({
      name: nameFromBytes(bytes.subarray(at + 19, end)),
      inode: bytes.readBigUInt64LE(at),
      type: typeOf[bytes.readUInt8(at + 18)],
      next: bytes.readBigUInt64LE(at + 8),
    });
  }
  return rows;
}
