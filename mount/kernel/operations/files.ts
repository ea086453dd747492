import { constants } from 'node:fs';
import { messageOf, StillError } from '../../../src/errors.js';
import type { Access, Opened } from '../../../src/tree/tree.js';
import type { Node } from '../../forest/forest.js';
import { readWhole } from '../../whole-read.js';
import type { OpenFile } from '../open-handles.js';
import type { MountState, Operation } from '../operation.js';
import { Opcode } from '../protocol/opcode.js';
import {
  OpenFlag,
  offsetReply,
  openReply,
  replyHeaderBytes,
  replyWith,
  writtenReply,
} from '../protocol/reply.js';
import {
  parseFallocate,
  parseHandle,
  parseLseek,
  parseOpen,
  parseRead,
  parseWrite,
} from '../protocol/request.js';

const accessOf: Readonly<Record<number, Access>> = {
  [constants.O_RDONLY]: 'read',
  [constants.O_WRONLY]: 'write',
  [constants.O_RDWR]: 'read-write',
};
const O_ACCMODE = 3;

const open: Operation = async (state, node, body, signal) => {
  const { flags } = parseOpen(body);
  const access = accessOf[flags & O_ACCMODE] ?? 'read-write';
  const { tree } = node.planted;
  if (access !== 'read' && (state.readOnly || !(tree.write || tree.discard))) {
    throw new StillError('EROFS', `${state.forest.pathOf(node)} can't be opened for writing`);
  }
  const opened = await tree.open(node.inode, access, signal);
  const backingId = backingOf(state, node, opened);
  const file = { node, opened, passthrough: backingId !== undefined, letGo: state.forest.hold(node) };
  const handle = state.files.add(file);
  const storing = access === 'read' ? await state.stored.of(file, state.files, signal) : undefined;
  const afterClose = access === 'read' ? OpenFlag.NOFLUSH : 0;
  return {
    message:
      backingId === undefined
        ? openReply(handle, cacheFlags[opened.cache] | afterClose)
        : openReply(handle, OpenFlag.PASSTHROUGH | afterClose, backingId),
    ...(storing && { before: storing }),
    undelivered: () => {
      close(state, state.files.remove(handle)).catch((error: unknown) =>
        state.log.warn(
          { path: state.forest.pathOf(node), error },
          'closing a file that nobody waited for failed',
        ),
      );
    },
  };
};

const cacheFlags: Readonly<Record<Opened['cache'], number>> = {
  keep: OpenFlag.KEEP_CACHE,
  refresh: 0,
  direct: OpenFlag.DIRECT_IO,
};

/** Hands the file to the kernel where it takes it; undefined where it is to be read here. */
function backingOf(state: MountState, node: Node, opened: Opened): number | undefined {
  if (opened.passthrough === undefined || !state.backing?.allowed) return undefined;
  try {
    return state.backing.open(node.number, opened.passthrough);
  } catch (error) {
    const path = state.forest.pathOf(node);
    state.log.debug(
      `${path} is read through the daemon: the kernel would not read it by itself (${messageOf(error)})`,
    );
    return undefined;
  }
}

async function close(state: MountState, file: OpenFile): Promise<void> {
  if (file.passthrough) state.backing?.close(file.node.number);
  try {
    await file.node.planted.tree.release(file.opened.handle);
  } finally {
    file.letGo();
  }
}

const release: Operation = async (state, _node, body) => {
  await close(state, state.files.remove(parseHandle(body)));
  return replyWith(0);
};

/** READ: the bytes go from the tree straight behind the reply's header. */
const read: Operation = async (state, node, body, signal) => {
  const { handle, offset, size } = parseRead(body);
  const file = state.files.get(handle);
  const { tree } = file.node.planted;
  // After a failure the buffer is lost to the pool: the tree may still write to it.
  const buffer = state.buffers.take(size);
  const { inode } = file.node;
  const path = (): string => state.forest.pathOf(node);
  const target = buffer.subarray(replyHeaderBytes);
  const { handle: opened, size: openedSize } = file.opened;
  const wanted = { tree, inode, handle: opened, size: openedSize, offset, path };
  const length = await readWhole(wanted, target, signal);
  const delivered = (): void => state.buffers.giveBack(buffer);
  return { message: buffer.subarray(0, replyHeaderBytes + length), delivered };
};

const write: Operation = async (state, node, body, signal) => {
  const { handle, offset, bytes } = parseWrite(body);
  const file = state.files.get(handle);
  const { tree } = file.node.planted;
  if (!tree.write) throw new StillError('EROFS', `${state.forest.pathOf(node)} can't be written`);
  await tree.write(file.opened.handle, offset, bytes, signal);
  return writtenReply(bytes.length);
};

const sync: Operation = async (state, _node, body, signal) => {
  const file = state.files.get(parseHandle(body));
  await file.node.planted.tree.sync?.(file.opened.handle, signal);
  return replyWith(0);
};

const flush: Operation = async () => replyWith(0);

// linux/falloc.h
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;

const fallocate: Operation = async (state, node, body, signal) => {
  const { handle, offset, length, mode } = parseFallocate(body);
  const file = state.files.get(handle);
  const { tree } = file.node.planted;
  if (mode !== (FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE)) {
    throw new StillError(
      'EOPNOTSUPP',
      `${state.forest.pathOf(node)} takes no fallocate but PUNCH_HOLE|KEEP_SIZE`,
    );
  }
  if (!tree.discard)
    throw new StillError('EROFS', `nothing of ${state.forest.pathOf(node)} can be given back`);
  await tree.discard(file.opened.handle, offset, length, signal);
  return replyWith(0);
};

// linux/fs.h
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

const seek: Operation = async (state, node, body, signal) => {
  const { handle, offset, whence } = parseLseek(body);
  const file = state.files.get(handle);
  const { tree } = file.node.planted;
  if (whence !== SEEK_DATA && whence !== SEEK_HOLE)
    throw new StillError('EINVAL', `lseek: whence ${whence} is unknown`);
  if (tree.seek) {
    return offsetReply(
      await tree.seek(file.opened.handle, offset, whence === SEEK_DATA ? 'data' : 'hole', signal),
    );
  }
  // ENOSYS would end SEEK_DATA for all trees of the mount; a file without known holes is one piece of data.
  const { size } = await tree.attributes(file.node.inode, signal);
  if (offset >= size)
    throw new StillError('ENXIO', `${state.forest.pathOf(node)} ends at ${size}, before ${offset}`);
  return offsetReply(whence === SEEK_DATA ? offset : size);
};

/** Closes what is open when a mount ends. */
export async function closeAll(state: MountState): Promise<void> {
  for (const folder of state.folders.removeAll()) folder.letGo();
  const closing = await Promise.allSettled(state.files.removeAll().map((file) => close(state, file)));
  for (const result of closing) {
    if (result.status === 'rejected')
      state.log.warn({ error: result.reason as unknown }, 'closing a file failed');
  }
}

export const fileOperations: ReadonlyArray<readonly [number, Operation]> = [
  [Opcode.OPEN, open],
  [Opcode.READ, read],
  [Opcode.WRITE, write],
  [Opcode.FLUSH, flush],
  [Opcode.FSYNC, sync],
  [Opcode.RELEASE, release],
  [Opcode.FALLOCATE, fallocate],
  [Opcode.LSEEK, seek],
];
