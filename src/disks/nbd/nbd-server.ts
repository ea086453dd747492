import { createServer, type Server, type Socket } from 'node:net';
import { StillError } from '../../errors.js';
import type { Disk } from '../disk.js';
import { Inbox } from './inbox.js';
import {
  broken,
  Command,
  ExportFlag,
  encodeOptionReply,
  encodeSimpleReply,
  HandshakeFlag,
  handshakeMagic,
  Info,
  Option,
  OptionReply,
  optionMagic,
  parseRequest,
  type ReceivedRequest,
  requestBytes,
} from './protocol.js';

const EIO = 5;
const EINVAL = 22;
const EPERM = 1;
const longestOption = 16 * 1024;
const longestRead = 32 * 1024 * 1024;
/** Requests that a client may have sent ahead, in bytes: more wait in the socket. */
const mostAhead = 64 * 1024;

/** Shows a disk, read-only, to whoever connects to a Unix socket: the little of the protocol that QEMU's client needs. */
export class NbdServer {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #closing = new AbortController();

  private constructor(disk: Disk, troubled: (error: unknown) => void) {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      // A client that goes away without a word is its own business.
      socket.on('error', () => socket.destroy());
      serve(socket, disk, troubled, this.#closing.signal).catch((error: unknown) => {
        if (!socket.destroyed) troubled(error);
        socket.destroy();
      });
    });
  }

  /**
   * Listens at a path. `troubled` is told why a client was sent away, and why the disk could not be read: the client
   * itself only gets a number.
   */
  static async listen(disk: Disk, path: string, troubled: (error: unknown) => void): Promise<NbdServer> {
    const server = new NbdServer(disk, troubled);
    await new Promise<void>((resolve, reject) => {
      server.#server.once('error', reject);
      server.#server.listen({ path, writableAll: true, readableAll: true }, resolve);
    });
    return server;
  }

  close(): void {
    this.#closing.abort();
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

type Read = (bytes: number) => Promise<Buffer>;

async function serve(
  socket: Socket,
  disk: Disk,
  troubled: (error: unknown) => void,
  signal: AbortSignal,
): Promise<void> {
  const inbox = new Inbox();
  socket.on('data', (chunk: Buffer) => {
    try {
      inbox.take(chunk);
    } catch (error) {
      socket.destroy(error instanceof Error ? error : new Error(String(error)));
    }
    if (inbox.waiting > mostAhead) socket.pause();
  });
  socket.on('close', () => inbox.fail(new StillError('EIO', 'the NBD client closed the connection')));
  const read: Read = async (bytes) => {
    const received = await inbox.read(bytes);
    if (inbox.waiting <= mostAhead) socket.resume();
    return received;
  };
  if (!(await negotiate(socket, read, disk))) return;
  for (;;) {
    const request = parseRequest(await read(requestBytes));
    if (request.type === Command.disconnect) {
      socket.end();
      return;
    }
    await answer(socket, disk, request, troubled, signal);
    if (socket.writableNeedDrain) await drained(socket);
  }
}

/** Waits until the client has taken what it was told, or is gone. */
function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const go = (): void => {
      socket.removeListener('drain', go);
      socket.removeListener('close', go);
      resolve();
    };
    socket.on('drain', go);
    socket.on('close', go);
    if (socket.destroyed) go();
  });
}

/** True once the client has chosen the export; false when it takes leave. */
async function negotiate(socket: Socket, read: Read, disk: Disk): Promise<boolean> {
  const greeting = Buffer.alloc(18);
  greeting.writeBigUInt64BE(handshakeMagic, 0);
  greeting.writeBigUInt64BE(optionMagic, 8);
  greeting.writeUInt16BE(HandshakeFlag.fixedNewstyle | HandshakeFlag.noZeroes, 16);
  socket.write(greeting);
  await read(4);
  for (;;) {
    const header = await read(16);
    const option = header.readUInt32BE(8);
    const length = header.readUInt32BE(12);
    if (header.readBigUInt64BE(0) !== optionMagic || length > longestOption)
      throw broken('an option that is none');
    await read(length);
    if (option === Option.go) {
      const info = Buffer.alloc(12);
      info.writeUInt16BE(Info.export, 0);
      info.writeBigUInt64BE(BigInt(disk.size), 2);
      info.writeUInt16BE(1 | ExportFlag.readOnly, 10);
      socket.write(encodeOptionReply(option, OptionReply.info, info));
      socket.write(encodeOptionReply(option, OptionReply.ack));
      return true;
    }
    if (option === Option.abort) {
      socket.end(encodeOptionReply(option, OptionReply.ack));
      return false;
    }
    socket.write(encodeOptionReply(option, OptionReply.unsupported));
  }
}

async function answer(
  socket: Socket,
  disk: Disk,
  request: ReceivedRequest,
  troubled: (error: unknown) => void,
  signal: AbortSignal,
): Promise<void> {
  const { type, cookie, offset, length } = request;
  if (type !== Command.read) {
    if (type === Command.write) throw broken('a write to an export that is read-only');
    socket.write(encodeSimpleReply(cookie, EPERM));
    return;
  }
  if (length > longestRead || offset + length > disk.size) {
    socket.write(encodeSimpleReply(cookie, EINVAL));
    return;
  }
  const bytes = Buffer.allocUnsafe(length);
  try {
    await disk.read(offset, bytes, signal);
  } catch (error) {
    troubled(error);
    socket.write(encodeSimpleReply(cookie, EIO));
    return;
  }
  socket.write(encodeSimpleReply(cookie, 0));
  socket.write(bytes);
}
