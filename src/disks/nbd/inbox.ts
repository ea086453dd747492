import { connect, type Socket } from 'node:net';

const chunkBytes = 1024 * 1024;

/**
 * The incoming side of a connection. Whoever reads says where the next bytes are to go and what to do when they are
 * there; that is called at once, while the socket's buffer is at hand, so nothing is kept or copied twice.
 */
export class Inbox {
  #into: Uint8Array = new Uint8Array(0);
  #filled = 0;
  #then: (() => void) | undefined;
  /** Bytes that came before anybody wanted them: only while the two sides negotiate. */
  #early: Buffer = Buffer.alloc(0);

  /** The next bytes fill `into`; then `then` is called, which says what comes next. */
  expect(into: Uint8Array, then: () => void): void {
    this.#into = into;
    this.#filled = 0;
    this.#then = then;
  }

  /** The same as a promise. */
  read(bytes: number): Promise<Buffer> {
    const into = Buffer.alloc(bytes);
    return new Promise((resolve) => {
      this.expect(into, () => resolve(into));
      const early = this.#early;
      this.#early = Buffer.alloc(0);
      this.take(early);
    });
  }

  take(chunk: Buffer): void {
    let rest = chunk;
    while (this.#then) {
      const length = Math.min(this.#into.byteLength - this.#filled, rest.length);
      this.#into.set(rest.subarray(0, length), this.#filled);
      this.#filled += length;
      rest = rest.subarray(length);
      if (this.#filled < this.#into.byteLength) return;
      const then = this.#then;
      this.#then = undefined;
      then();
    }
    if (rest.length > 0) this.#early = Buffer.concat([this.#early, rest]);
  }
}

/** Connects to a Unix socket; what comes in goes to `inbox`. */
export function connectUnix(path: string, inbox: Inbox, signal?: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const buffer = Buffer.allocUnsafeSlow(chunkBytes);
    const receive = (length: number): boolean => {
      try {
        inbox.take(buffer.subarray(0, length));
      } catch (error) {
        socket.destroy(error instanceof Error ? error : new Error(String(error)));
      }
      return true;
    };
    const socket = connect({ path, onread: { buffer, callback: receive } });
    const abort = (): void => {
      socket.destroy();
      reject(signal?.reason);
    };
    signal?.addEventListener('abort', abort, { once: true });
    socket.once('connect', () => {
      signal?.removeEventListener('abort', abort);
      socket.removeListener('error', reject);
      resolve(socket);
    });
    socket.once('error', reject);
  });
}
