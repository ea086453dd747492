import type { Name } from '../../name.js';
import { parseFailure } from '../../port/failure.js';
import {
  bytesOnly,
  type Fields,
  fields,
  flag,
  items,
  oneOf,
  sixtyFourBits,
  unexpected,
  whole,
} from '../../port/fields.js';
import type { Time } from '../../time.js';
import { type Attributes, fileTypes, type Inode } from '../attributes.js';
import type { Capacity, Change, Found, Opened } from '../tree.js';
import { parseFiles } from './ahead/files-ahead.js';
import { parseListed, parsePieces } from './ahead/listings-ahead.js';
import { mostFilesAhead } from './ahead/reading-order.js';
import { optionalOperations, type Request, type ToClient, type ToServer } from './messages.js';

export function parseBytes(value: unknown): Uint8Array {
  return value instanceof Uint8Array ? value : unexpected('bytes');
}

/** Bytes that have their memory to themselves. */
function parseOwnBytes(value: unknown): Uint8Array<ArrayBuffer> {
  const bytes = parseBytes(value);
  const { buffer, byteLength } = bytes;
  if (!(buffer instanceof ArrayBuffer) || byteLength !== buffer.byteLength) return unexpected('bytes');
  return new Uint8Array(buffer);
}

export function parseWhole(value: unknown): number {
  return whole(value, 'a number');
}

function parseFresh(value: unknown): number {
  return typeof value === 'number' && value >= 0 ? value : unexpected('freshSeconds');
}

function parseTime(value: unknown): Time {
  const { seconds, nanoseconds } = fields(value);
  if (typeof seconds !== 'number' || !Number.isSafeInteger(seconds)) return unexpected('seconds');
  return { seconds, nanoseconds: whole(nanoseconds, 'nanoseconds') };
}

function parseDevice(value: unknown): { major: number; minor: number } {
  const { major, minor } = fields(value);
  return { major: whole(major, 'major'), minor: whole(minor, 'minor') };
}

export function parseAttributes(value: unknown): Attributes {
  const from = fields(value);
  return {
    inode: sixtyFourBits(from.inode, 'inode'),
    type: oneOf(fileTypes, from.type, 'type'),
    permissions: whole(from.permissions, 'permissions'),
    links: whole(from.links, 'links'),
    uid: whole(from.uid, 'uid'),
    gid: whole(from.gid, 'gid'),
    ...(from.device !== undefined && { device: parseDevice(from.device) }),
    size: whole(from.size, 'size'),
    allocated: whole(from.allocated, 'allocated'),
    accessed: parseTime(from.accessed),
    modified: parseTime(from.modified),
    changed: parseTime(from.changed),
    freshSeconds: parseFresh(from.freshSeconds),
    ...(from.bare !== undefined && flag(from.bare, 'bare') && { bare: true }),
  };
}

export function parseFound(value: unknown): Found {
  const from = fields(value);
  const freshSeconds = parseFresh(from.freshSeconds);
  if (from.attributes === undefined) return { freshSeconds };
  return { attributes: parseAttributes(from.attributes), freshSeconds };
}

/** The same, with what the file holds where that came with it. */
export function parseLookup(value: unknown): { found: Found; content: Uint8Array<ArrayBuffer> | undefined } {
  const { content } = fields(value);
  return { found: parseFound(value), content: content === undefined ? undefined : parseOwnBytes(content) };
}

export function parsePresent(value: unknown): Found & { attributes: Attributes } {
  const { attributes, freshSeconds } = parseFound(value);
  return attributes ? { attributes, freshSeconds } : unexpected('attributes');
}

export function parseNames(value: unknown): Name[] {
  return items(value, 'names').map((name) => bytesOnly(name, 'name'));
}

/** A file that was opened at the other end: by a handle there, or as its whole content, which never changes. */
export type RemoteFile =
  | { readonly cache: Opened['cache']; readonly handle: number }
  | { readonly cache: Opened['cache']; readonly content: Uint8Array };

export function parseOpened(value: unknown): RemoteFile {
  const from = fields(value);
  const cache = oneOf(['keep', 'refresh', 'direct'], from.cache, 'cache');
  if (from.content !== undefined) return { cache, content: parseBytes(from.content) };
  return { cache, handle: whole(from.handle, 'handle') };
}

/** How many bytes were read, and the memory that begins with them. */
export function parseRead(value: unknown, longest: number): { length: number; memory: ArrayBuffer } {
  const from = fields(value);
  const length = whole(from.length, 'length');
  const memory = from.memory instanceof ArrayBuffer ? from.memory : unexpected('memory');
  if (length > longest || length > memory.byteLength) unexpected('more bytes than were asked for');
  return { length, memory };
}

export function parseCapacity(value: unknown): Capacity {
  const from = fields(value);
  return {
    total: whole(from.total, 'total'),
    free: whole(from.free, 'free'),
    files: whole(from.files, 'files'),
  };
}

function parseChange(value: unknown): Change {
  const from = fields(value);
  switch (from.kind) {
    case 'entry':
      return {
        kind: 'entry',
        folder: sixtyFourBits(from.folder, 'folder'),
        name: bytesOnly(from.name, 'name'),
      };
    case 'inode':
      return { kind: 'inode', inode: sixtyFourBits(from.inode, 'inode') };
    default:
      return unexpected('change');
  }
}

export function parseToClient(message: unknown): ToClient {
  const from = fields(message);
  switch (from.kind) {
    case 'ready':
      return {
        kind: 'ready',
        root: sixtyFourBits(from.root, 'root'),
        operations: items(from.operations, 'operations').map((name) =>
          oneOf(optionalOperations, name, 'operation'),
        ),
      };
    case 'unmade':
      return { kind: 'unmade', failure: parseFailure(from.failure) };
    case 'answer':
      return {
        kind: 'answer',
        id: whole(from.id, 'id'),
        number: whole(from.number, 'number'),
        value: from.value,
      };
    case 'failure':
      return {
        kind: 'failure',
        id: whole(from.id, 'id'),
        number: whole(from.number, 'number'),
        failure: parseFailure(from.failure),
      };
    case 'change':
      return { kind: 'change', change: parseChange(from.change) };
    case 'files ahead':
      return { kind: 'files ahead', files: parseFiles(fields(from.files)) };
    case 'listings ahead':
      return { kind: 'listings ahead', listings: parseListed(from) };
    case 'pong':
      return { kind: 'pong' };
    default:
      return unexpected('kind');
  }
}

export function parseToServer(message: unknown): ToServer {
  const from = fields(message);
  switch (from.kind) {
    case 'request':
      return {
        kind: 'request',
        id: whole(from.id, 'id'),
        received: whole(from.received, 'received'),
        request: parseRequest(fields(from.request)),
      };
    case 'abort':
      return { kind: 'abort', id: whole(from.id, 'id') };
    case 'forget':
      return {
        kind: 'forget',
        inode: sixtyFourBits(from.inode, 'inode'),
        received: whole(from.received, 'received'),
      };
    case 'watch':
      return { kind: 'watch', on: flag(from.on, 'on') };
    case 'want files': {
      const inodes = items(from.inodes, 'inodes').map((inode) => sixtyFourBits(inode, 'inode'));
      return { kind: 'want files', inodes: inodes.length <= mostFilesAhead ? inodes : unexpected('inodes') };
    }
    case 'want listings':
      return { kind: 'want listings', pieces: parsePieces(from.pieces) };
    case 'make':
      return { kind: 'make', data: from.data };
    case 'unmake':
      return { kind: 'unmake' };
    case 'ping':
      return { kind: 'ping' };
    default:
      return unexpected('kind');
  }
}

function parseRequest(from: Fields): Request {
  const inode = (): Inode => sixtyFourBits(from.inode, 'inode');
  const folder = (): Inode => sixtyFourBits(from.folder, 'folder');
  const name = (): Name => bytesOnly(from.name, 'name');
  const handle = (): number => whole(from.handle, 'handle');
  const offset = (): number => whole(from.offset, 'offset');
  const length = (): number => whole(from.length, 'length');
  const operation = from.operation;
  switch (operation) {
    case 'lookup':
      return { operation, folder: folder(), name: name(), whole: flag(from.whole, 'whole') };
    case 'rmdir':
      return { operation, folder: folder(), name: name() };
    case 'attributes':
    case 'readlink':
    case 'xattrs':
      return { operation, inode: inode() };
    case 'list':
      return { operation, folder: folder(), after: sixtyFourBits(from.after, 'after') };
    case 'xattr':
      return { operation, inode: inode(), name: name() };
    case 'open':
      return {
        operation,
        inode: inode(),
        access: oneOf(['read', 'write', 'read-write'], from.access, 'access'),
      };
    case 'read': {
      const read = { operation, handle: handle(), offset: offset(), length: length() } as const;
      if (from.memory === undefined) return read;
      if (!(from.memory instanceof ArrayBuffer) || from.memory.byteLength < read.length) {
        return unexpected('memory');
      }
      return { ...read, memory: from.memory };
    }
    case 'seek':
      return {
        operation,
        handle: handle(),
        offset: offset(),
        wanted: oneOf(['data', 'hole'], from.wanted, 'wanted'),
      };
    case 'write':
      return { operation, handle: handle(), offset: offset(), bytes: parseBytes(from.bytes) };
    case 'discard':
      return { operation, handle: handle(), offset: offset(), length: length() };
    case 'sync':
    case 'release':
      return { operation, handle: handle() };
    case 'mkdir':
      return {
        operation,
        folder: folder(),
        name: name(),
        permissions: whole(from.permissions, 'permissions'),
      };
    case 'truncate':
      return { operation, inode: inode(), size: whole(from.size, 'size') };
    case 'capacity':
    case 'close':
      return { operation };
    default:
      return unexpected('operation');
  }
}
