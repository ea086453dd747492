import { constants } from 'node:fs';
import type { Name } from '../name.js';
import { nameToBytes, nameToText } from '../name.js';
import { cString, systemCall } from './call.js';

// openat2(2), linux/openat2.h. The number is the same on every architecture; glibc has no wrapper yet.
const SYS_OPENAT2 = 437;
const openat2 = systemCall(
  'long syscall(long number, int folder, const void *path, const void *how, size_t size)',
  'openat2',
);

/** Not in Node's constants: a descriptor that only names a file (open(2)). */
export const O_PATH = 0o10000000;
const O_CLOEXEC = 0o2000000;

const RESOLVE_NO_MAGICLINKS = 0x02;
const RESOLVE_NO_SYMLINKS = 0x04;
const RESOLVE_BENEATH = 0x08;
const RESOLVE_CACHED = 0x20;

function howToOpen(flags: number, resolve: number): Uint8Array {
  const how = Buffer.alloc(24); // struct open_how: u64 flags, mode, resolve
  how.writeBigUInt64LE(BigInt(flags | O_CLOEXEC), 0);
  how.writeBigUInt64LE(BigInt(resolve), 16);
  return how;
}

const strictly = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;

/**
 * Opens a path that stays beneath a folder: no symlink is followed on the way, `..` can't lead out (EXDEV, ELOOP).
 * An empty path is the folder itself. The caller closes the descriptor.
 */
export function openBeneath(folder: number, path: Name, flags: number): Promise<number> {
  const target = path === '' ? ('.' as Name) : path;
  return openat2.later(
    nameToText(target),
    SYS_OPENAT2,
    folder,
    cString(nameToBytes(target)),
    howToOpen(flags | constants.O_NOFOLLOW, strictly),
    24,
  );
}

/** The same without any wait: EAGAIN where the kernel would have to ask the disk or a server for the path. */
export function openBeneathIfCached(folder: number, path: Name, flags: number): number {
  const target = path === '' ? ('.' as Name) : path;
  const how = howToOpen(flags | constants.O_NOFOLLOW, strictly | RESOLVE_CACHED);
  return openat2.now(nameToText(target), SYS_OPENAT2, folder, cString(nameToBytes(target)), how, 24);
}
