import { createServer, type Server, type Socket } from 'node:net';
import { messageOf } from '../../errors.js';
import type { Logger } from '../../log.js';
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

const unsupported = 0x8000_0001; // NBD_REP_ERR_UNSUP
const EIO = 5;
const EINVAL = 22;
const EPERM = 1;
const longestOption = 16 * 1024;
const longestRead = 32 * 1024 * 1024;

/** Shows a disk, read-only, to whoever connects to a Unix socket: the little of the protocol that QEMU's client needs. */
export class NbdServer {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #closing = new AbortController();

  private constructor(disk: Disk, log: Logger) {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      // A client that goes away without a word is its own business.
      socket.on('error', () => socket.destroy());
      serve(socket, disk, this.#closing.signal).catch((error: unknown) => {
        log.warn(`a client of an image's NBD server was sent away: ${messageOf(error)}`);
        socket.destroy();
      });
    });
  }

  static async listen(disk: Disk, path: string, log: Logger): Promise<NbdServer> {
    const server = new NbdServer(disk, log);
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

async function serve(socket: Socket, disk: Disk, signal: AbortSignal): Promise<void> {
  const inbox = new Inbox();
  socket.on('data', (chunk: Buffer) => inbox.take(chunk));
  const gone = new Promise<undefined>((resolve) => socket.on('close', () => resolve(undefined)));
  if (!(await Promise.race([negotiate(socket, inbox, disk), gone]))) return;
  for (;;) {
    const bytes = await Promise.race([inbox.read(requestBytes), gone]);
    if (!bytes) return;
    const request = parseRequest(bytes);
    if (request.type === Command.disconnect) {
      socket.end();
      return;
    }
    await Promise.race([answer(socket, disk, request, signal), gone]);
  }
}

/** True once the client has chosen the export; false when it takes leave. */
async function negotiate(socket: Socket, inbox: Inbox, disk: Disk): Promise<boolean> {
  const greeting = Buffer.alloc(18);
  greeting.writeBigUInt64BE(handshakeMagic, 0);
  greeting.writeBigUInt64BE(optionMagic, 8);
  greeting.writeUInt16BE(HandshakeFlag.fixedNewstyle | HandshakeFlag.noZeroes, 16);
  socket.write(greeting);
  await inbox.read(4);
  for (;;) {
    const header = await inbox.read(16);
    const option = header.readUInt32BE(8);
    const length = header.readUInt32BE(12);
    if (header.readBigUInt64BE(0) !== optionMagic || length > longestOption)
      throw broken('an option that is none');
    await inbox.read(length);
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
    socket.write(encodeOptionReply(option, unsupported));
  }
}

async function answer(
  socket: Socket,
  disk: Disk,
  request: ReceivedRequest,
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
  } catch {
    // The client passes the error on to who asked it; what was wrong with the file is told where it is read.
    socket.write(encodeSimpleReply(cookie, EIO));
    return;
  }
  socket.write(encodeSimpleReply(cookie, 0));
  socket.write(bytes);
}
