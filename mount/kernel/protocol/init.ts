import { StillError } from '../../../src/errors.js';
import { replyHeaderBytes, replyWith } from './reply.js';
import type { InitRequest } from './request.js';

/** The protocol that is spoken here: 7.41 is the first whose passthrough could be tried; 7.31 the oldest accepted. */
const major = 7;
const newestMinor = 41;
const oldestMinor = 31;

/** FUSE_* flags of INIT in linux/fuse.h; those from bit 32 on travel in `flags2`. */
const Flag = {
  ASYNC_READ: 1n << 0n,
  EXPORT_SUPPORT: 1n << 4n,
  BIG_WRITES: 1n << 5n,
  AUTO_INVAL_DATA: 1n << 12n,
  DO_READDIRPLUS: 1n << 13n,
  ASYNC_DIO: 1n << 15n,
  PARALLEL_DIROPS: 1n << 18n,
  POSIX_ACL: 1n << 20n,
  MAX_PAGES: 1n << 22n,
  CACHE_SYMLINKS: 1n << 23n,
  INIT_EXT: 1n << 30n,
  DIRECT_IO_ALLOW_MMAP: 1n << 36n,
  PASSTHROUGH: 1n << 37n,
} as const;

/**
 * Without READDIRPLUS_AUTO, by which the kernel would ask for attributes with the first part of a listing alone, and then
 * for each of the other files: a tree tells attributes only where they cost nothing.
 */
const always =
  Flag.ASYNC_READ |
  Flag.EXPORT_SUPPORT |
  Flag.BIG_WRITES |
  Flag.AUTO_INVAL_DATA |
  Flag.DO_READDIRPLUS |
  Flag.ASYNC_DIO |
  Flag.PARALLEL_DIROPS |
  Flag.POSIX_ACL |
  Flag.MAX_PAGES |
  Flag.CACHE_SYMLINKS |
  Flag.INIT_EXT |
  Flag.DIRECT_IO_ALLOW_MMAP;

/** The largest READ, in bytes: 256 pages. */
export const largestRead = 1024 * 1024;
/** The largest WRITE, in bytes. Little is ever written into a mount; this bounds the buffer that every request needs. */
export const largestWrite = 32 * 1024;
const pageBytes = 4096;
/**
 * How many requests for read-ahead and O_DIRECT may be under way. All trees of a mount share them, so there must be more
 * than those who wait for a store that does not answer need, or they hold up everybody else.
 */
const backgroundRequests = 1024;

/** What both sides agreed on. */
export interface Session {
  readonly minor: number;
  /** Whether the kernel can be handed a file to read by itself. */
  readonly passthrough: boolean;
  /** Whether files that the kernel must not cache can be mapped into memory. */
  readonly directMmap: boolean;
}

/**
 * Answers INIT. `again` means that the kernel speaks a newer major version and will ask once more.
 * EPROTO: the kernel is too old.
 */
export function negotiate(
  request: InitRequest,
  options: { readonly passthrough: boolean; readonly readaheadBytes: number },
): { readonly reply: Buffer; readonly session: Session } | { readonly reply: Buffer; readonly again: true } {
  if (request.major > major) {
    const reply = replyWith(64);
    reply.writeUInt32LE(major, replyHeaderBytes);
    return { reply, again: true };
  }
  if (request.major < major || request.minor < oldestMinor) {
    throw new StillError(
      'EPROTO',
      `this kernel speaks FUSE ${request.major}.${request.minor}; ${major}.${oldestMinor} (Linux 5.4) or newer is needed`,
    );
  }
  const passthrough = options.passthrough && request.minor >= 40 ? Flag.PASSTHROUGH : 0n;
  const agreed = request.flags & (always | passthrough);
  const minor = Math.min(request.minor, newestMinor);
  const reply = replyWith(64); // struct fuse_init_out
  const at = replyHeaderBytes;
  reply.writeUInt32LE(major, at);
  reply.writeUInt32LE(minor, at + 4);
  reply.writeUInt32LE(Math.min(request.maxReadahead, options.readaheadBytes), at + 8);
  reply.writeUInt32LE(Number(agreed & 0xffff_ffffn), at + 12);
  reply.writeUInt16LE(backgroundRequests, at + 16);
  reply.writeUInt16LE((backgroundRequests * 3) / 4, at + 18);
  reply.writeUInt32LE(largestWrite, at + 20);
  reply.writeUInt32LE(1, at + 24); // time granularity: nanoseconds
  reply.writeUInt16LE(largestRead / pageBytes, at + 28);
  reply.writeUInt32LE(Number(agreed >> 32n), at + 32);
  reply.writeUInt32LE((agreed & Flag.PASSTHROUGH) !== 0n ? 1 : 0, at + 36); // max_stack_depth
  return {
    reply,
    session: {
      minor,
      passthrough: (agreed & Flag.PASSTHROUGH) !== 0n,
      directMmap: (agreed & Flag.DIRECT_IO_ALLOW_MMAP) !== 0n,
    },
  };
}
