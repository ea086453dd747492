import { StillError } from '../../../src/errors.js';
import type { Name } from '../../../src/name.js';
import { nameToBytes, nameToText } from '../../../src/name.js';
import type { Attributes } from '../../../src/tree/attributes.js';
import { foundAt, type Node } from '../../forest/forest.js';
import type { Answer, MountState, Operation } from '../operation.js';
import { Opcode } from '../protocol/opcode.js';
import {
  absentReply,
  attributesReply,
  bytesReply,
  capacityReply,
  entryReply,
  replyWith,
  roomReply,
  statxReply,
} from '../protocol/reply.js';
import {
  parseGetXattr,
  parseListXattr,
  parseMkdir,
  parseName,
  parseSetAttributes,
} from '../protocol/request.js';

const itself = '.' as Name;

/** LOOKUP; `.` and `..` come from an NFS server that holds no more than a number. */
const lookup: Operation = async (state, node, body, signal) => {
  const name = parseName(body);
  if (name === itself) {
    const attributes = await state.forest.attributes(node, signal);
    return entry(state, state.forest.remember(node), attributes, 0);
  }
  const found = await state.forest.lookup(node, name, signal);
  if (found.node) return entry(state, found.node, found.attributes, found.freshSeconds);
  if (found.freshSeconds > 0) return absentReply(found.freshSeconds);
  throw new StillError('ENOENT', `there is no ${state.forest.pathOf(node, name)}`);
};

/** Tells the kernel of a node that the forest has counted as told. */
function entry(state: MountState, node: Node, attributes: Attributes, freshSeconds: number): Answer {
  const message = entryReply({ number: node.number, generation: state.generation, attributes, freshSeconds });
  return { message, undelivered: () => state.forest.forget(node.number, 1) };
}

const getAttributes: Operation = async (state, node, _body, signal) =>
  attributesReply(node.number, await state.forest.attributes(node, signal));

const statx: Operation = async (state, node, _body, signal) =>
  statxReply(node.number, await state.forest.attributes(node, signal));

/** SETATTR: a file's length alone, where its tree takes it. */
const setAttributes: Operation = async (state, node, body, signal) => {
  const { size, more } = parseSetAttributes(body);
  const { tree } = node.planted;
  if (state.readOnly || more || !tree.truncate) {
    throw new StillError('EROFS', `the attributes of ${state.forest.pathOf(node)} can't be changed`);
  }
  if (size !== undefined) await tree.truncate(node.inode, size, signal);
  return attributesReply(node.number, await state.forest.attributes(node, signal));
};

const readlink: Operation = async (_state, node, _body, signal) =>
  bytesReply(await node.planted.tree.readlink(node.inode, signal));

const getXattr: Operation = async (state, node, body, signal) => {
  const { room, name } = parseGetXattr(body);
  if (state.forest.isBare(node))
    throw new StillError('ENODATA', `${state.forest.pathOf(node)} has no attribute ${nameToText(name)}`);
  return fitting(await node.planted.tree.xattr(node.inode, name, signal), room);
};

const listXattrs: Operation = async (state, node, body, signal) => {
  const { room } = parseListXattr(body);
  if (state.forest.isBare(node)) return fitting(Buffer.alloc(0), room);
  const names = await node.planted.tree.xattrs(node.inode, signal);
  return fitting(nameToBytes(names.map((name) => `${name}\0`).join('') as Name), room);
};

/** A value, or how much room it needs where the caller asks just that (room 0). */
function fitting(bytes: Uint8Array, room: number): Answer {
  if (room === 0) return roomReply(bytes.byteLength);
  if (bytes.byteLength > room)
    throw new StillError('ERANGE', `${bytes.byteLength} bytes do not fit into ${room}`);
  return bytesReply(bytes);
}

const capacity: Operation = async (_state, node, _body, signal) =>
  capacityReply((await node.planted.tree.capacity?.(signal)) ?? { total: 0, free: 0, files: 0 });

const mkdir: Operation = async (state, node, body, signal) => {
  const { name, permissions } = parseMkdir(body);
  const { planted } = node;
  if (state.readOnly || !planted.tree.mkdir) {
    throw new StillError('EROFS', `no folder can be made at ${state.forest.pathOf(node, name)}`);
  }
  const { attributes, freshSeconds } = await planted.tree.mkdir(node.inode, name, permissions, signal);
  const number = state.forest.numberOf(planted, attributes.inode);
  const made = state.forest.remember(
    { number, planted, inode: attributes.inode },
    foundAt(node, name, attributes),
  );
  return entry(state, made, attributes, freshSeconds);
};

const rmdir: Operation = async (state, node, body, signal) => {
  const name = parseName(body);
  const { tree } = node.planted;
  if (state.readOnly || !tree.rmdir) {
    throw new StillError('EROFS', `no folder can be removed at ${state.forest.pathOf(node, name)}`);
  }
  await tree.rmdir(node.inode, name, signal);
  return replyWith(0);
};

export const nodeOperations: ReadonlyArray<readonly [number, Operation]> = [
  [Opcode.LOOKUP, lookup],
  [Opcode.GETATTR, getAttributes],
  [Opcode.STATX, statx],
  [Opcode.SETATTR, setAttributes],
  [Opcode.READLINK, readlink],
  [Opcode.GETXATTR, getXattr],
  [Opcode.LISTXATTR, listXattrs],
  [Opcode.STATFS, capacity],
  [Opcode.MKDIR, mkdir],
  [Opcode.RMDIR, rmdir],
];
