import type { Name } from '../../../src/name.js';
import type { Time } from '../../../src/time.js';
import type { Attributes, FileType } from '../../../src/tree/attributes.js';
import type { Capacity } from '../../../src/tree/tree.js';
import type { NodeNumber } from '../../forest/node-number.js';

/**
 * Replies as the kernel takes them: the one place where their bytes are put together. Layouts: linux/fuse.h, the
 * structs `fuse_out_header` and `fuse_*_out`. Each function gives a whole message, header included; the header's
 * `unique` and length are filled in by `seal`.
 */
export const replyHeaderBytes = 16;
const entryBytes = 128;
const attributesBytes = 88;

/** Room for a reply with so many bytes behind the header. */
export function replyWith(bytes: number): Buffer {
  return Buffer.alloc(replyHeaderBytes + bytes);
}

/** Writes the header: the request that is answered, and a positive errno or 0. */
export function seal(message: Buffer, unique: number, errno = 0): Buffer {
  message.writeUInt32LE(message.length, 0);
  message.writeInt32LE(-errno, 4);
  writeNumber(message, unique, 8);
  return message;
}

function writeNumber(message: Buffer, value: number, at: number): void {
  message.writeUInt32LE(value % 0x1_0000_0000, at);
  message.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4);
}

/** How long something holds, as whole seconds and nanoseconds; for ever is the longest that the field takes. */
function writeSeconds(message: Buffer, seconds: number, secondsAt: number, nanosecondsAt: number): void {
  if (seconds >= 2 ** 31) {
    writeNumber(message, 2 ** 31, secondsAt);
    return;
  }
  const whole = Math.floor(seconds);
  writeNumber(message, whole, secondsAt);
  message.writeUInt32LE(Math.floor((seconds - whole) * 1e9), nanosecondsAt);
}

const modeOf: Readonly<Record<FileType, number>> = {
  fifo: 0o010000,
  character: 0o020000,
  directory: 0o040000,
  block: 0o060000,
  file: 0o100000,
  symlink: 0o120000,
  socket: 0o140000,
};

/** Linux's 32-bit form of a device number, new_encode_dev in linux/kdev_t.h. */
function deviceNumber(device: Attributes['device']): number {
  if (!device) return 0;
  const { major, minor } = device;
  return ((minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12)) >>> 0;
}

const blockBytes = 512;
const preferredBytes = 4096;

/** struct fuse_attr. */
function writeAttributes(message: Buffer, number: NodeNumber, attributes: Attributes, at: number): void {
  message.writeBigUInt64LE(number, at);
  writeNumber(message, attributes.size, at + 8);
  writeNumber(message, Math.ceil(attributes.allocated / blockBytes), at + 16);
  message.writeBigInt64LE(BigInt(attributes.accessed.seconds), at + 24);
  message.writeBigInt64LE(BigInt(attributes.modified.seconds), at + 32);
  message.writeBigInt64LE(BigInt(attributes.changed.seconds), at + 40);
  message.writeUInt32LE(attributes.accessed.nanoseconds, at + 48);
  message.writeUInt32LE(attributes.modified.nanoseconds, at + 52);
  message.writeUInt32LE(attributes.changed.nanoseconds, at + 56);
  message.writeUInt32LE(modeOf[attributes.type] | attributes.permissions, at + 60);
  message.writeUInt32LE(attributes.links, at + 64);
  message.writeUInt32LE(attributes.uid, at + 68);
  message.writeUInt32LE(attributes.gid, at + 72);
  message.writeUInt32LE(deviceNumber(attributes.device), at + 76);
  message.writeUInt32LE(preferredBytes, at + 80);
}

/** A node as an entry reply tells of it. */
export interface EntryReply {
  readonly number: NodeNumber;
  /** Tells this life of the mount from others, so that an old NFS handle can't meet a new file. */
  readonly generation: bigint;
  readonly attributes: Attributes;
  readonly freshSeconds: number;
}

/** struct fuse_entry_out. */
function writeEntry(message: Buffer, entry: EntryReply, at: number): void {
  message.writeBigUInt64LE(entry.number, at);
  message.writeBigUInt64LE(entry.generation, at + 8);
  writeSeconds(message, entry.freshSeconds, at + 16, at + 32);
  writeSeconds(message, entry.attributes.freshSeconds, at + 24, at + 36);
  writeAttributes(message, entry.number, entry.attributes, at + 40);
}

export function entryReply(entry: EntryReply): Buffer {
  const message = replyWith(entryBytes);
  writeEntry(message, entry, replyHeaderBytes);
  return message;
}

/** A name that is not there, which the kernel may remember for so many seconds: an entry with nodeid 0. */
export function absentReply(freshSeconds: number): Buffer {
  const message = replyWith(entryBytes);
  writeSeconds(message, freshSeconds, replyHeaderBytes + 16, replyHeaderBytes + 32);
  return message;
}

/** struct fuse_attr_out. */
export function attributesReply(number: NodeNumber, attributes: Attributes): Buffer {
  const message = replyWith(16 + attributesBytes);
  writeSeconds(message, attributes.freshSeconds, replyHeaderBytes, replyHeaderBytes + 8);
  writeAttributes(message, number, attributes, replyHeaderBytes + 16);
  return message;
}

// What of struct fuse_statx is filled in: STATX_BASIC_STATS in linux/stat.h.
const STATX_BASIC_STATS = 0x7ff;

/** struct fuse_statx_out. */
export function statxReply(number: NodeNumber, attributes: Attributes): Buffer {
  const message = replyWith(32 + 256);
  writeSeconds(message, attributes.freshSeconds, replyHeaderBytes, replyHeaderBytes + 8);
  const at = replyHeaderBytes + 32;
  message.writeUInt32LE(STATX_BASIC_STATS, at);
  message.writeUInt32LE(preferredBytes, at + 4);
  message.writeUInt32LE(attributes.links, at + 16);
  message.writeUInt32LE(attributes.uid, at + 20);
  message.writeUInt32LE(attributes.gid, at + 24);
  message.writeUInt16LE(modeOf[attributes.type] | attributes.permissions, at + 28);
  message.writeBigUInt64LE(number, at + 32);
  writeNumber(message, attributes.size, at + 40);
  writeNumber(message, Math.ceil(attributes.allocated / blockBytes), at + 48);
  writeStatxTime(message, attributes.accessed, at + 64);
  writeStatxTime(message, attributes.changed, at + 96);
  writeStatxTime(message, attributes.modified, at + 112);
  message.writeUInt32LE(attributes.device?.major ?? 0, at + 128);
  message.writeUInt32LE(attributes.device?.minor ?? 0, at + 132);
  return message;
}

function writeStatxTime(message: Buffer, time: Time, at: number): void {
  message.writeBigInt64LE(BigInt(time.seconds), at);
  message.writeUInt32LE(time.nanoseconds, at + 8);
}

/** Flags of struct fuse_open_out. */
export const OpenFlag = {
  DIRECT_IO: 1 << 0,
  KEEP_CACHE: 1 << 1,
  CACHE_DIR: 1 << 3,
  NOFLUSH: 1 << 5,
  PASSTHROUGH: 1 << 7,
} as const;

/** struct fuse_open_out. */
export function openReply(handle: number, flags: number, backingId = 0): Buffer {
  const message = replyWith(16);
  writeNumber(message, handle, replyHeaderBytes);
  message.writeUInt32LE(flags, replyHeaderBytes + 8);
  message.writeInt32LE(backingId, replyHeaderBytes + 12);
  return message;
}

/** struct fuse_write_out. */
export function writtenReply(bytes: number): Buffer {
  const message = replyWith(8);
  message.writeUInt32LE(bytes, replyHeaderBytes);
  return message;
}

/** struct fuse_lseek_out. */
export function offsetReply(offset: number): Buffer {
  const message = replyWith(8);
  writeNumber(message, offset, replyHeaderBytes);
  return message;
}

/** struct fuse_getxattr_out: how much room a value or a list of names needs. */
export function roomReply(bytes: number): Buffer {
  const message = replyWith(8);
  message.writeUInt32LE(bytes, replyHeaderBytes);
  return message;
}

export function bytesReply(bytes: Uint8Array): Buffer {
  const message = Buffer.allocUnsafe(replyHeaderBytes + bytes.byteLength);
  message.set(bytes, replyHeaderBytes);
  return message;
}

const statfsBlockBytes = 4096;

/** struct fuse_statfs_out. */
export function capacityReply(capacity: Capacity): Buffer {
  const message = replyWith(80);
  const at = replyHeaderBytes;
  writeNumber(message, Math.floor(capacity.total / statfsBlockBytes), at);
  writeNumber(message, Math.floor(capacity.free / statfsBlockBytes), at + 8);
  writeNumber(message, Math.floor(capacity.free / statfsBlockBytes), at + 16);
  writeNumber(message, capacity.files, at + 24);
  message.writeUInt32LE(statfsBlockBytes, at + 40);
  message.writeUInt32LE(255, at + 44);
  message.writeUInt32LE(statfsBlockBytes, at + 48);
  return message;
}

/** A row of a folder's listing. */
export interface ListedRow {
  readonly name: Name;
  readonly type: FileType;
  readonly number: NodeNumber;
  readonly cookie: bigint;
}

const direntBytes = 24;

/** A folder's listing as READDIR and READDIRPLUS take it: rows until the room is used up. */
export class Listing {
  readonly #message: Buffer;
  #end = replyHeaderBytes;

  /** `room` is how many bytes the kernel takes; `plus` whether each row carries its entry. */
  constructor(
    room: number,
    readonly plus: boolean,
  ) {
    this.#message = Buffer.alloc(replyHeaderBytes + room);
  }

  /** Whether a row with a name of so many bytes has room. */
  fits(nameBytes: number): boolean {
    return this.#end + this.#rowBytes(nameBytes) <= this.#message.length;
  }

  /** Adds a row. Without an entry the kernel looks the name up itself when it needs to. */
  add(row: ListedRow, entry?: EntryReply): void {
    const message = this.#message;
    let at = this.#end;
    this.#end += this.#rowBytes(row.name.length);
    if (this.plus) {
      if (entry) writeEntry(message, entry, at);
      at += entryBytes;
    }
    message.writeBigUInt64LE(row.number, at);
    message.writeBigUInt64LE(row.cookie, at + 8);
    message.writeUInt32LE(row.name.length, at + 16);
    message.writeUInt32LE(modeOf[row.type] >> 12, at + 20);
    message.write(row.name, at + direntBytes, 'latin1');
  }

  get empty(): boolean {
    return this.#end === replyHeaderBytes;
  }

  get message(): Buffer {
    return this.#message.subarray(0, this.#end);
  }

  #rowBytes(nameBytes: number): number {
    return (this.plus ? entryBytes : 0) + Math.ceil((direntBytes + nameBytes) / 8) * 8;
  }
}
