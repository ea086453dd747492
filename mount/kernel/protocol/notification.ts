import type { Name } from '../../../src/name.js';
import { nameToBytes } from '../../../src/name.js';
import type { NodeNumber } from '../../forest/node-number.js';
import { replyHeaderBytes, replyWith } from './reply.js';

// enum fuse_notify_code in linux/fuse.h. A notification is a reply to no request whose error field holds the code.
const FUSE_NOTIFY_INVAL_INODE = 2;
const FUSE_NOTIFY_INVAL_ENTRY = 3;
const FUSE_NOTIFY_STORE = 4;

function notification(message: Buffer, code: number): Buffer {
  message.writeUInt32LE(message.length, 0);
  message.writeInt32LE(code, 4);
  return message;
}

/** struct fuse_notify_inval_inode_out: the node's attributes and all its cached bytes are out of date. */
export function invalidInode(number: NodeNumber): Buffer {
  const message = replyWith(24);
  message.writeBigUInt64LE(number, replyHeaderBytes);
  return notification(message, FUSE_NOTIFY_INVAL_INODE);
}

/** struct fuse_notify_inval_entry_out: what a name stands for in a folder is out of date. */
export function invalidEntry(folder: NodeNumber, name: Name): Buffer {
  const bytes = nameToBytes(name);
  const message = replyWith(16 + bytes.length + 1);
  message.writeBigUInt64LE(folder, replyHeaderBytes);
  message.writeUInt32LE(bytes.length, replyHeaderBytes + 8);
  message.set(bytes, replyHeaderBytes + 16);
  return notification(message, FUSE_NOTIFY_INVAL_ENTRY);
}

const storeBytes = replyHeaderBytes + 24;

/** struct fuse_notify_store_out with room for a file's first bytes behind it: they are its content from now on, without a READ. */
export function storedContent(number: NodeNumber, bytes: number): { message: Buffer; content: Buffer } {
  const message = Buffer.allocUnsafeSlow(storeBytes + bytes);
  message.fill(0, 0, storeBytes);
  message.writeBigUInt64LE(number, replyHeaderBytes);
  message.writeUInt32LE(bytes, replyHeaderBytes + 16);
  return { message: notification(message, FUSE_NOTIFY_STORE), content: message.subarray(storeBytes) };
}
