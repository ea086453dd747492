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
  writeNumber(viewOf(message), unique, 8);
  return message;
}

/** For messages with numbers of 64 bits, which a DataView writes in a sixth of the time. */
function viewOf(message: Buffer): DataView {
  return new DataView(message.buffer, message.byteOffset, message.length);
}

/** A whole number of 64 bits, negative ones too. */
function writeNumber(view: DataView, value: number, at: number): void {
  view.setUint32(at, value, true);
  view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true);
}

/** How long something holds, as whole seconds and nanoseconds; for ever is the longest that the field takes. */
function writeSeconds(view: DataView, seconds: number, secondsAt: number, nanosecondsAt: number): void {
  if (seconds >= 2 ** 31) {
    writeNumber(view, 2 ** 31, secondsAt);
    return;
  }
  const whole = Math.floor(seconds);
  writeNumber(view, whole, secondsAt);
  view.setUint32(nanosecondsAt, Math.floor((seconds - whole) * 1e9), true);
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
function writeAttributes(view: DataView, number: NodeNumber, attributes: Attributes, at: number): void {
  const { accessed, modified, changed } = attributes;
  view.setBigUint64(at, number, true);
  writeNumber(view, attributes.size, at + 8);
  writeNumber(view, Math.ceil(attributes.allocated / blockBytes), at + 16);
  writeNumber(view, accessed.seconds, at + 24);
  writeNumber(view, modified.seconds, at + 32);
  writeNumber(view, changed.seconds, at + 40);
  view.setUint32(at + 48, accessed.nanoseconds, true);
  view.setUint32(at + 52, modified.nanoseconds, true);
  view.setUint32(at + 56, changed.nanoseconds, true);
  view.setUint32(at + 60, modeOf[attributes.type] | attributes.permissions, true);
  view.setUint32(at + 64, attributes.links, true);
  view.setUint32(at + 68, attributes.uid, true);
  view.setUint32(at + 72, attributes.gid, true);
  view.setUint32(at + 76, deviceNumber(attributes.device), true);
  view.setUint32(at + 80, preferredBytes, true);
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
function writeEntry(view: DataView, entry: EntryReply, at: number): void {
  view.setBigUint64(at, entry.number, true);
  view.setBigUint64(at + 8, entry.generation, true);
  writeSeconds(view, entry.freshSeconds, at + 16, at + 32);
  writeSeconds(view, entry.attributes.freshSeconds, at + 24, at + 36);
  writeAttributes(view, entry.number, entry.attributes, at + 40);
}

export function entryReply(entry: EntryReply): Buffer {
  const message = replyWith(entryBytes);
  writeEntry(viewOf(message), entry, replyHeaderBytes);
  return message;
}

/** A name that is not there, which the kernel may remember for so many seconds: an entry with nodeid 0. */
export function absentReply(freshSeconds: number): Buffer {
  const message = replyWith(entryBytes);
  writeSeconds(viewOf(message), freshSeconds, replyHeaderBytes + 16, replyHeaderBytes + 32);
  return message;
}

/** struct fuse_attr_out. */
export function attributesReply(number: NodeNumber, attributes: Attributes): Buffer {
  const message = replyWith(16 + attributesBytes);
  const view = viewOf(message);
  writeSeconds(view, attributes.freshSeconds, replyHeaderBytes, replyHeaderBytes + 8);
  writeAttributes(view, number, attributes, replyHeaderBytes + 16);
  return message;
}

// What of struct fuse_statx is filled in: STATX_BASIC_STATS in linux/stat.h.
const STATX_BASIC_STATS = 0x7ff;

/** struct fuse_statx_out. */
export function statxReply(number: NodeNumber, attributes: Attributes): Buffer {
  const message = replyWith(32 + 256);
  const view = viewOf(message);
  writeSeconds(view, attributes.freshSeconds, replyHeaderBytes, replyHeaderBytes + 8);
  const at = replyHeaderBytes + 32;
  view.setUint32(at, STATX_BASIC_STATS, true);
  view.setUint32(at + 4, preferredBytes, true);
  view.setUint32(at + 16, attributes.links, true);
  view.setUint32(at + 20, attributes.uid, true);
  view.setUint32(at + 24, attributes.gid, true);
  view.setUint16(at + 28, modeOf[attributes.type] | attributes.permissions, true);
  view.setBigUint64(at + 32, number, true);
  writeNumber(view, attributes.size, at + 40);
  writeNumber(view, Math.ceil(attributes.allocated / blockBytes), at + 48);
  writeStatxTime(view, attributes.accessed, at + 64);
  writeStatxTime(view, attributes.changed, at + 96);
  writeStatxTime(view, attributes.modified, at + 112);
  view.setUint32(at + 128, attributes.device?.major ?? 0, true);
  view.setUint32(at + 132, attributes.device?.minor ?? 0, true);
  return message;
}

function writeStatxTime(view: DataView, time: Time, at: number): void {
  writeNumber(view, time.seconds, at);
  view.setUint32(at + 8, time.nanoseconds, true);
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
  writeNumber(viewOf(message), handle, replyHeaderBytes);
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
  writeNumber(viewOf(message), offset, replyHeaderBytes);
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
  const view = viewOf(message);
  const at = replyHeaderBytes;
  writeNumber(view, Math.floor(capacity.total / statfsBlockBytes), at);
  writeNumber(view, Math.floor(capacity.free / statfsBlockBytes), at + 8);
  writeNumber(view, Math.floor(capacity.free / statfsBlockBytes), at + 16);
  writeNumber(view, capacity.files, at + 24);
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
  readonly #room: number;
  /** None as long as there is no row: the end of a folder is told by an empty listing. */
  #message: Buffer | undefined;
  #view: DataView | undefined;
  #end = replyHeaderBytes;

  /** `room` is how many bytes the kernel takes; `plus` whether each row carries its entry. */
  constructor(
    room: number,
    readonly plus: boolean,
  ) {
    this.#room = room;
  }

  /** Whether a row with a name of so many bytes has room. */
  fits(nameBytes: number): boolean {
    return this.#end + this.#rowBytes(nameBytes) <= replyHeaderBytes + this.#room;
  }

  /** Adds a row. Without an entry the kernel looks the name up itself when it needs to. */
  add(row: ListedRow, entry?: EntryReply): void {
    this.#message ??= replyWith(this.#room);
    this.#view ??= viewOf(this.#message);
    const view = this.#view;
    let at = this.#end;
    this.#end += this.#rowBytes(row.name.length);
    if (this.plus) {
      if (entry) writeEntry(view, entry, at);
      at += entryBytes;
    }
    view.setBigUint64(at, row.number, true);
    view.setBigUint64(at + 8, row.cookie, true);
    view.setUint32(at + 16, row.name.length, true);
    view.setUint32(at + 20, modeOf[row.type] >> 12, true);
    this.#message.write(row.name, at + direntBytes, 'latin1');
  }

  get empty(): boolean {
    return this.#end === replyHeaderBytes;
  }

  get message(): Buffer {
    return this.#message?.subarray(0, this.#end) ?? replyWith(0);
  }

  #rowBytes(nameBytes: number): number {
    return (this.plus ? entryBytes : 0) + Math.ceil((direntBytes + nameBytes) / 8) * 8;
  }
}
