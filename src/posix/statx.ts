import { hasCode, StillError } from '../errors.js';
import { type Name, nameToBytes, nameToText } from '../name.js';
import type { Time } from '../time.js';
import type { FileType } from '../tree/attributes.js';
import { cString, systemCall } from './call.js';
import { closeNamed } from './named-descriptor.js';
import { O_PATH, openBeneathIfCached } from './openat2.js';

const statx = systemCall('int statx(int folder, const void *path, int flags, uint32_t mask, void *result)');

// linux/fcntl.h, linux/stat.h
const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_NO_AUTOMOUNT = 0x800;
const AT_EMPTY_PATH = 0x1000;
const AT_STATX_FORCE_SYNC = 0x2000;
const AT_STATX_DONT_SYNC = 0x4000;
const STATX_TYPE = 0x1;
const STATX_BASIC_STATS = 0x7ff;

const statxBytes = 256;
const itself = cString(new Uint8Array(0));

/** What statx(2) tells of a file. */
export interface FileStatus {
  readonly type: FileType;
  /** The lower twelve bits of the mode. */
  readonly permissions: number;
  readonly links: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes. */
  readonly size: number;
  /** Bytes on the disk. */
  readonly allocated: number;
  readonly inode: bigint;
  /** The file system that the file lies in: major number times 2^32, plus minor number. */
  readonly fileSystem: number;
  /** The device that a device node stands for; 0 and 0 for all else. */
  readonly device: { readonly major: number; readonly minor: number };
  readonly accessed: Time;
  readonly modified: Time;
  readonly changed: Time;
}

/** The status of the file that a descriptor stands for (O_PATH is enough). */
export async function statusOf(descriptor: number): Promise<FileStatus> {
  const result = Buffer.alloc(statxBytes);
  await statx.later(`descriptor ${descriptor}`, descriptor, itself, AT_EMPTY_PATH, STATX_BASIC_STATS, result);
  return parseStatx(result);
}

/** The status of an entry of a folder, symlinks themselves. `entry` must be a single name. */
export async function statusOfEntry(folder: number, entry: Name): Promise<FileStatus> {
  const result = Buffer.alloc(statxBytes);
  const flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
  const name = cString(nameToBytes(entry));
  await statx.later(nameToText(entry), folder, name, flags, STATX_BASIC_STATS, result);
  return parseStatx(result);
}

/** Asks the server of a file system itself, whatever the kernel has cached, and comes back when it has answered. */
export async function serverAnswers(path: string): Promise<void> {
  const result = Buffer.alloc(statxBytes);
  await statx.later(path, AT_FDCWD, path, AT_STATX_FORCE_SYNC, STATX_TYPE, result);
}

const cachedResult = Buffer.alloc(statxBytes);

/** The same as `statusOf` without any wait: undefined where the kernel would have to ask a server. */
export function statusIfCached(descriptor: number): FileStatus | undefined {
  const flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
  statx.now(`descriptor ${descriptor}`, descriptor, itself, flags, STATX_BASIC_STATS, cachedResult);
  const told = cachedResult.readUInt32LE(0);
  return (told & STATX_BASIC_STATS) === STATX_BASIC_STATS ? parseStatx(cachedResult) : undefined;
}

/** The same as `statusOfEntry` without any wait: undefined where a disk or a server would have to be asked. */
export function entryStatusIfCached(folder: number, entry: Name): FileStatus | undefined {
  let descriptor: number;
  try {
    descriptor = openBeneathIfCached(folder, entry, O_PATH);
  } catch (error) {
    if (hasCode(error, 'EAGAIN')) return undefined;
    throw error;
  }
  try {
    return statusIfCached(descriptor);
  } finally {
    closeNamed(descriptor);
  }
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

/** Reads a struct statx (linux/stat.h). EFBIG: a size that no offset reaches; EIO: a type that Linux does not have. */
function parseStatx(bytes: Buffer): FileStatus {
  const mode = bytes.readUInt16LE(28);
  const type = typeOf[mode >> 12];
  if (!type)
    throw new StillError('EIO', `the system told of a file of mode ${mode.toString(8)}, which is none`);
  return {
    type,
    permissions: mode & 0o7777,
    links: bytes.readUInt32LE(16),
    uid: bytes.readUInt32LE(20),
    gid: bytes.readUInt32LE(24),
    size: readLength(bytes, 40),
    allocated: readLength(bytes, 48) * 512,
    inode: bytes.readBigUInt64LE(32),
    fileSystem: bytes.readUInt32LE(136) * 2 ** 32 + bytes.readUInt32LE(140),
    device: { major: bytes.readUInt32LE(128), minor: bytes.readUInt32LE(132) },
    accessed: readTime(bytes, 64),
    changed: readTime(bytes, 96),
    modified: readTime(bytes, 112),
  };
}

function readLength(bytes: Buffer, at: number): number {
  const length = bytes.readUInt32LE(at + 4) * 2 ** 32 + bytes.readUInt32LE(at);
  if (length <= Number.MAX_SAFE_INTEGER) return length;
  throw new StillError('EFBIG', `a file of about ${length} bytes is larger than can be shown`);
}

/** A struct statx_timestamp: s64 seconds, u32 nanoseconds. Seconds beyond 2^53 (some file systems take any) are cut there. */
function readTime(bytes: Buffer, at: number): Time {
  const seconds = bytes.readInt32LE(at + 4) * 2 ** 32 + bytes.readUInt32LE(at);
  const most = Number.MAX_SAFE_INTEGER;
  return { seconds: Math.min(Math.max(seconds, -most), most), nanoseconds: bytes.readUInt32LE(at + 8) };
}
