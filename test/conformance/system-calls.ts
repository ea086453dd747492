import { open } from 'node:fs/promises';
import koffi from 'koffi';
import { systemCall } from '../../src/posix/call.js';

const libc = koffi.load(null);
const mmap = libc.func(
  'void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)',
);
const munmap = libc.func('int munmap(void *address, size_t length)');
const memcmp = libc.func('int memcmp(const void *one, const void *other, size_t length)');
const nameToHandleAt = systemCall(
  'int name_to_handle_at(int folder, const char *path, void *handle, void *mount, int flags)',
);
const openByHandleAt = systemCall('int open_by_handle_at(int mount, void *handle, int flags)');
const fallocate = systemCall('int fallocate(int fd, int mode, int64_t offset, int64_t length)');
const setxattr = systemCall(
  'int setxattr(const char *path, const char *name, const void *value, size_t size, int flags)',
);

const PROT_READ = 1;
const MAP_PRIVATE = 2;
const MAP_FAILED = 2n ** 64n - 1n;

/** Whether a file that is mapped into memory shows these bytes from its start on. */
export async function mapsTo(path: string, expected: Uint8Array): Promise<boolean> {
  const file = await open(path);
  try {
    const address: unknown = mmap(null, expected.length, PROT_READ, MAP_PRIVATE, file.fd, 0);
    if (BigInt.asUintN(64, BigInt(koffi.address(address))) === MAP_FAILED) {
      throw new Error(`${path} can't be mapped: errno ${koffi.errno()}`);
    }
    try {
      return memcmp(address, expected, expected.length) === 0;
    } finally {
      munmap(address, expected.length);
    }
  } finally {
    await file.close();
  }
}

const AT_FDCWD = -100;
/** MAX_HANDLE_SZ of linux/exportfs.h. */
const largestHandle = 128;

/** A file's handle (struct file_handle), as an NFS server gives it to its clients. */
export async function handleOf(path: string): Promise<Buffer> {
  const handle = Buffer.alloc(8 + largestHandle);
  handle.writeUInt32LE(largestHandle, 0);
  await nameToHandleAt.later(path, AT_FDCWD, path, handle, Buffer.alloc(4), 0);
  return handle;
}

/** Opens the file of a handle, somewhere in the mount that a descriptor belongs to. The caller closes it. */
export function openHandle(mount: number, handle: Buffer): Promise<number> {
  return openByHandleAt.later('a handle', mount, handle, 0);
}

// linux/falloc.h
export const KEEP_SIZE = 1;
export const PUNCH_HOLE = 2;
export const COLLAPSE_RANGE = 8;
export const ZERO_RANGE = 16;

export async function allocate(fd: number, mode: number, offset: number, length: number): Promise<void> {
  await fallocate.later('a file', fd, mode, offset, length);
}

export async function setXattr(path: string, name: string, value: string): Promise<void> {
  await setxattr.later(path, path, name, Buffer.from(value), value.length, 0);
}
