import { StillError } from '../../../src/errors.js';
import { type Name, nameFromBytes } from '../../../src/name.js';
import type { NodeNumber } from '../../forest/node-number.js';
import { Opcode } from './opcode.js';

/**
 * Requests as the kernel sends them: the one place where their bytes are taken apart. Layouts: linux/fuse.h, the
 * structs `fuse_in_header` and `fuse_*_in`, in the byte order of the machine (little-endian on all that Node runs on).
 */
export interface Request {
  readonly opcode: number;
  /** Names the request in its reply and in an INTERRUPT. */
  readonly unique: number;
  readonly nodeid: NodeNumber;
  /** The process that asked; 0 where it is in another namespace or the kernel asked for itself. */
  readonly pid: number;
  /** What follows the header. Valid until the handler first awaits: the buffer is used again. */
  readonly body: Buffer;
}

const headerBytes = 40;

/** The most that a request without written data takes: its header and two names. */
export const requestRoom = 8192;

export function parseRequest(bytes: Buffer): Request {
  const length = bytes.length >= headerBytes ? bytes.readUInt32LE(0) : 0;
  if (length < headerBytes || length > bytes.length) {
    throw new StillError(
      'EPROTO',
      `the kernel sent a request of ${bytes.length} bytes that says it has ${length}`,
    );
  }
  return {
    opcode: bytes.readUInt32LE(4),
    unique: offset(bytes, 8),
    nodeid: bytes.readBigUInt64LE(16),
    pid: bytes.readUInt32LE(32),
    body: bytes.subarray(headerBytes, length),
  };
}

/** A file offset, a length or a handle: 64 bits on the wire, below 2^53 with us. */
function offset(bytes: Buffer, at: number): number {
  const value = bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 0x1_0000_0000;
  if (!Number.isSafeInteger(value))
    throw new StillError('EOVERFLOW', `the kernel asked for offset ${value}, beyond 2^53`);
  return value;
}

function name(bytes: Buffer, at = 0): Name {
  const end = bytes.indexOf(0, at);
  if (end < 0) throw new StillError('EPROTO', 'the kernel sent a name without an end');
  return nameFromBytes(bytes.subarray(at, end));
}

/** struct fuse_init_in; `flags` holds both halves. */
export interface InitRequest {
  readonly major: number;
  readonly minor: number;
  readonly maxReadahead: number;
  readonly flags: bigint;
}

export function parseInit(body: Buffer): InitRequest {
  const low = body.readUInt32LE(12);
  const extended = body.length >= 20 ? body.readUInt32LE(16) : 0;
  return {
    major: body.readUInt32LE(0),
    minor: body.readUInt32LE(4),
    maxReadahead: body.readUInt32LE(8),
    flags: BigInt(low) | (BigInt(extended) << 32n),
  };
}

/** LOOKUP, RMDIR, UNLINK: a name in the folder `nodeid`. */
export const parseName = (body: Buffer): Name => name(body);

/** The name that a request has beside its node; of those that are likely to fail in a way worth telling. */
export function nameIn({ opcode, body }: Request): Name | undefined {
  const hasName = opcode === Opcode.LOOKUP || opcode === Opcode.RMDIR || opcode === Opcode.MKDIR;
  if (!hasName || !body.includes(0, opcode === Opcode.MKDIR ? mkdirBytes : 0)) return undefined;
  return opcode === Opcode.MKDIR ? parseMkdir(body).name : parseName(body);
}

/** struct fuse_forget_in: how many look-ups are taken back. */
export const parseForget = (body: Buffer): number => offset(body, 0);

/** struct fuse_batch_forget_in and its rows. */
export function parseBatchForget(body: Buffer): Array<{ nodeid: NodeNumber; lookups: number }> {
  const count = body.readUInt32LE(0);
  return Array.from({ length: count }, (_, row) => ({
    nodeid: body.readBigUInt64LE(8 + row * 16),
    lookups: offset(body, 16 + row * 16),
  }));
}

/** struct fuse_setattr_in, as far as a file's length goes. */
export interface SetAttributesRequest {
  /** The new length in bytes, if it is to be set. */
  readonly size: number | undefined;
  /** Whether more than the length and times that the kernel sets along with it is to be changed. */
  readonly more: boolean;
}

const FATTR_SIZE = 1 << 3;
const FATTR_FH = 1 << 6;
const FATTR_LOCKOWNER = 1 << 9;
const FATTR_MTIME = 1 << 5;
const FATTR_MTIME_NOW = 1 << 8;
const FATTR_CTIME = 1 << 10;
const FATTR_KILL_SUIDGID = 1 << 11;

export function parseSetAttributes(body: Buffer): SetAttributesRequest {
  const valid = body.readUInt32LE(0);
  const sized = (valid & FATTR_SIZE) !== 0;
  const alongWithSize = FATTR_MTIME | FATTR_MTIME_NOW | FATTR_CTIME | FATTR_KILL_SUIDGID;
  const understood = FATTR_SIZE | FATTR_FH | FATTR_LOCKOWNER | (sized ? alongWithSize : 0);
  return { size: sized ? offset(body, 16) : undefined, more: (valid & ~understood) !== 0 };
}

/** The size of struct fuse_mkdir_in. */
const mkdirBytes = 8;

/** struct fuse_mkdir_in and the new folder's name. */
export const parseMkdir = (body: Buffer): { permissions: number; name: Name } => ({
  permissions: body.readUInt32LE(0) & 0o7777,
  name: name(body, mkdirBytes),
});

/** struct fuse_open_in: the flags of open(2). */
export const parseOpen = (body: Buffer): { flags: number } => ({ flags: body.readUInt32LE(0) });

/** struct fuse_read_in, for READ, READDIR and READDIRPLUS. */
export interface ReadRequest {
  readonly handle: number;
  /** In a file: bytes. */
  readonly offset: number;
  readonly size: number;
}

export const parseRead = (body: Buffer): ReadRequest => ({
  handle: offset(body, 0),
  offset: offset(body, 8),
  size: body.readUInt32LE(16),
});

/** The same for a folder, where the offset is an entry's cookie: 64 bits. */
export const parseReadFolder = (body: Buffer): { handle: number; after: bigint; size: number } => ({
  handle: offset(body, 0),
  after: body.readBigUInt64LE(8),
  size: body.readUInt32LE(16),
});

/** struct fuse_write_in and the bytes; they are the caller's to keep. */
export function parseWrite(body: Buffer): { handle: number; offset: number; bytes: Buffer } {
  const size = body.readUInt32LE(16);
  if (body.length < 40 + size)
    throw new StillError('EPROTO', `the kernel sent ${body.length - 40} of ${size} bytes to write`);
  return {
    handle: offset(body, 0),
    offset: offset(body, 8),
    bytes: Buffer.from(body.subarray(40, 40 + size)),
  };
}

/** RELEASE, RELEASEDIR, FLUSH, FSYNC: the handle comes first in each. */
export const parseHandle = (body: Buffer): number => offset(body, 0);

/** struct fuse_getxattr_in and, for GETXATTR, the attribute's name. */
export const parseGetXattr = (body: Buffer): { room: number; name: Name } => ({
  room: body.readUInt32LE(0),
  name: name(body, mkdirBytes),
});

export const parseListXattr = (body: Buffer): { room: number } => ({ room: body.readUInt32LE(0) });

/** struct fuse_interrupt_in: the request that nobody waits for any more. */
export const parseInterrupt = (body: Buffer): number => offset(body, 0);

/** struct fuse_fallocate_in; `mode` as in fallocate(2). */
export const parseFallocate = (
  body: Buffer,
): { handle: number; offset: number; length: number; mode: number } => ({
  handle: offset(body, 0),
  offset: offset(body, 8),
  length: offset(body, 16),
  mode: body.readUInt32LE(24),
});

/** struct fuse_lseek_in; `whence` as in lseek(2). */
export const parseLseek = (body: Buffer): { handle: number; offset: number; whence: number } => ({
  handle: offset(body, 0),
  offset: offset(body, 8),
  whence: body.readUInt32LE(16),
});
