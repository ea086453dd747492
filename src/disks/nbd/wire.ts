import type { Socket } from 'node:net';
import { StillError } from '../../errors.js';
import { giveLargePiece, takeLargePiece } from '../large-pieces.js';
import type { Dialler } from './address.js';
import { Inbox } from './inbox.js';

/** How long a server may take to close a connection after a farewell. */
const farewellMilliseconds = 1000;

/**
 * The socket of one connection. It fails once, with one reason, and is closed then. A `held` socket has a duplicate in
 * another process, which is to stay connected: it is only closed, never shut down, and no farewell is said.
 */
export class Wire {
  readonly inbox = new Inbox();
  /** Told of each arrival. */
  heard: (() => void) | undefined;
  /** Told once. */
  lost: ((error: StillError) => void) | undefined;
  readonly #name: string;
  readonly #held: boolean;
  #socket: Socket | undefined;
  #failure: StillError | undefined;
  #closed = false;

  private constructor(name: string, held: boolean) {
    this.#name = name;
    this.#held = held;
  }

  /** Connects. An abort leaves no socket behind, even one that comes late. */
  static async open(dialler: Dialler, held: boolean, signal: AbortSignal): Promise<Wire> {
    signal.throwIfAborted();
    const wire = new Wire(dialler.name, held);
    // As much as a large request: each read from a socket costs a way through the event loop.
    const buffer = takeLargePiece();
    const callback = (length: number): boolean => {
      wire.#receive(buffer.subarray(0, length));
      return true;
    };
    const dialling = dialler.dial({ buffer, callback }, signal);
    const socket = await new Promise<Socket>((resolve, reject) => {
      const abort = (): void => reject(signal.reason);
      signal.addEventListener('abort', abort, { once: true });
      dialling.then(
        (late) => {
          signal.removeEventListener('abort', abort);
          if (signal.aborted) letGo(late);
          else resolve(late);
        },
        (error: unknown) => {
          signal.removeEventListener('abort', abort);
          reject(error);
        },
      );
    });
    socket.once('close', () => giveLargePiece(buffer));
    wire.#attach(socket);
    return wire;
  }

  send(...parts: readonly Uint8Array[]): void {
    const socket = this.#socket;
    if (!socket || this.#failure) return;
    if (parts.length > 1) socket.cork();
    for (const part of parts) socket.write(part);
    if (parts.length > 1) socket.uncork();
  }

  /** Ends the connection at once, for this reason, unless it has ended for another. */
  fail(error: StillError): void {
    if (this.#failure) return;
    this.#failure = error;
    this.inbox.fail(error);
    this.#socket?.destroy();
    this.lost?.(error);
  }

  /** Ends the connection with some last words. Returns when the socket is closed. */
  async leave(farewell: Uint8Array, reason: StillError): Promise<void> {
    const socket = this.#socket;
    const failed = this.#failure !== undefined;
    if (!failed) {
      this.#failure = reason;
      this.inbox.fail(reason);
      this.lost?.(reason);
    }
    if (!socket || this.#closed) return;
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    if (failed || this.#held) socket.destroy();
    else socket.end(farewell);
    const late = setTimeout(() => socket.destroy(), farewellMilliseconds);
    await closed;
    clearTimeout(late);
  }

  #attach(socket: Socket): void {
    this.#socket = socket;
    socket.on('error', (error) =>
      this.fail(
        new StillError('EIO', `the connection to the NBD server at ${this.#name} failed`, { cause: error }),
      ),
    );
    const ended = (): void =>
      this.fail(new StillError('EIO', `the NBD server at ${this.#name} closed the connection`));
    socket.on('end', ended);
    socket.on('close', () => {
      this.#closed = true;
      ended();
    });
    // Only for a socket that was made without `onread`.
    socket.on('data', (bytes: Buffer) => this.#receive(bytes));
    if (this.#failure) socket.destroy();
    else if (socket.destroyed) ended();
  }

  #receive(bytes: Buffer): void {
    if (this.#failure) return;
    this.heard?.();
    try {
      this.inbox.take(bytes);
    } catch (error) {
      this.fail(
        error instanceof StillError
          ? error
          : new StillError('EIO', `what the NBD server at ${this.#name} said was not understood`, {
              cause: error,
            }),
      );
    }
  }
}

/** Closes a socket that nobody wants any more. */
function letGo(socket: Socket): void {
  socket.on('error', () => undefined);
  socket.destroy();
}
