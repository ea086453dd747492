import type { Name } from '../name.js';
import { nameToBytes, nameToText } from '../name.js';
import type { Time } from '../time.js';
import type { FileType } from '../tree/attributes.js';
import { cString, systemCall } from './call.js';

const statxCall = systemCall(
  'int statx(int folder, const void *path, int flags, unsigned int mask, void *result)',
);

const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_NO_AUTOMOUNT = 0x800;
const AT_EMPTY_PATH = 0x1000;
/** A network file system answers from what it knows, and asks nobody. */
const AT_STATX_DONT_SYNC = 0x4000;
const STATX_BASIC_STATS = 0x7ff;
const resultBytes = 256;
const empty = cString(new Uint8Array(0));

/** What statx(2) tells, in the units of `Attributes`. */
export interface FileStatus {
  readonly type: FileType;
  /** The lower twelve bits of the mode. */
  readonly permissions: number;
  readonly links: number;
  readonly uid: number;
  readonly gid: number;
  readonly inode: bigint;
  readonly size: number;
  /** Bytes that take up room. */
  readonly allocated: number;
  readonly accessed: Time;
  readonly modified: Time;
  readonly changed: Time;
  readonly device: { readonly major: number; readonly minor: number };
  /** The file system that it lies on. */
  readonly on: { readonly major: number; readonly minor: number };
}

/** The status of an open file (O_PATH is enough) as far as it is known without asking a server; never waits for one. */
export function statOpen(descriptor: number): FileStatus {
  const result = Buffer.allocUnsafe(resultBytes);
  const flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
  statxCall.now(`descriptor ${descriptor}`, descriptor, empty, flags, STATX_BASIC_STATS, result);
  return parse(result);
}

/** The status of a name in an open folder, in the pool. Symlinks are not followed. */
export async function statIn(folder: number, name: Name): Promise<FileStatus> {
  const result = Buffer.allocUnsafe(resultBytes);
  const flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
  await statxCall.later(
    nameToText(name),
    folder,
    cString(nameToBytes(name)),
    flags,
    STATX_BASIC_STATS,
    result,
  );
  return parse(result);
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

// struct statx in linux/stat.h
function parse(bytes: Buffer): FileStatus {
  const mode = bytes.readUInt16LE(28);
  return {
    links: bytes.readUInt32LE(16),
    uid: bytes.readUInt32LE(20),
    gid: bytes.readUInt32LE(24),
    type: typeOf[mode >> 12] ?? 'file',
    permissions: mode & 0o7777,
    inode: bytes.readBigUInt64LE(32),
    size: Number(bytes.readBigUInt64LE(40)),
    allocated: Number(bytes.readBigUInt64LE(48)) * 512,
    accessed: time(bytes, 64),
    changed: time(bytes, 96),
    modified: time(bytes, 112),
    device: { major: bytes.readUInt32LE(128), minor: bytes.readUInt32LE(132) },
    on: { major: bytes.readUInt32LE(136), minor: bytes.readUInt32LE(140) },
  };
}

function time(bytes: Buffer, at: number): Time {
  return { seconds: Number(bytes.readBigInt64LE(at)), nanoseconds: bytes.readUInt32LE(at + 8) };
}
