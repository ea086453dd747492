import { cString, systemCall } from '../../src/posix/call.js';

const mknodat = systemCall('int mknodat(int folder, const void *path, uint32_t mode, uint64_t device)');
const lsetxattr = systemCall(
  'int lsetxattr(const void *path, const void *name, const void *value, size_t size, int flags)',
);
const utimensat = systemCall('int utimensat(int folder, const void *path, const void *times, int flags)');
const linkat = systemCall(
  'int linkat(int folder, const void *path, int toFolder, const void *toPath, int flags)',
);
const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;

// What makes odd files and Node lacks. Paths are bytes.

const modeOf = { block: 0o060000, character: 0o020000, fifo: 0o010000, socket: 0o140000 } as const;

/** Makes a node that is no file and no folder. */
export function makeNode(path: Buffer, type: keyof typeof modeOf, major = 0, minor = 0): void {
  // gnu_dev_makedev: 12 bits of the major and 20 of the minor, interleaved
  const device = BigInt(((major & 0xfff) << 8) | (minor & 0xff)) | (BigInt(minor & ~0xff) << 12n);
  mknodat.now(path.toString('utf8'), AT_FDCWD, cString(path), modeOf[type] | 0o640, device);
}

export function setXattr(path: Buffer, name: string, value: Uint8Array): void {
  lsetxattr.now(name, cString(path), cString(Buffer.from(name, 'latin1')), value, value.length, 0);
}

/** Sets the access and modification time of a file itself, also of a symlink. */
export function setTime(path: Buffer, seconds: bigint, nanoseconds: number): void {
  const times = Buffer.alloc(32);
  for (const at of [0, 16]) {
    times.writeBigInt64LE(seconds, at);
    times.writeBigInt64LE(BigInt(nanoseconds), at + 8);
  }
  utimensat.now(path.toString('utf8'), AT_FDCWD, cString(path), times, AT_SYMLINK_NOFOLLOW);
}

/** Gives a file, also a symlink or a device, one more name. */
export function makeLink(from: Buffer, to: Buffer): void {
  linkat.now(to.toString('utf8'), AT_FDCWD, cString(from), AT_FDCWD, cString(to), 0);
}
