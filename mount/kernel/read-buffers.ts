import { replyHeaderBytes } from './protocol/reply.js';

/** Replies of this size and more are worth keeping: fresh memory costs more than the copy into it. */
const worthKeeping = 64 * 1024;
/** How many bytes of free buffers are kept. */
const keptBytes = 16 * 1024 * 1024;

/** Buffers for replies to READ, used again and again. One that was not given back is simply lost to the pool. */
export class ReadBuffers {
  readonly #free = new Map<number, Buffer[]>();
  #kept = 0;

  /** A message with room for the reply's header and so many bytes. */
  take(bytes: number): Buffer {
    const buffer = this.#free.get(bytes)?.pop();
    if (!buffer) return Buffer.allocUnsafeSlow(replyHeaderBytes + bytes);
    this.#kept -= buffer.length;
    return buffer;
  }

  /** Takes a message back, as `take` gave it, that nobody writes to any more. */
  giveBack(buffer: Buffer): void {
    const bytes = buffer.length - replyHeaderBytes;
    if (bytes < worthKeeping || this.#kept + buffer.length > keptBytes) return;
    const free = this.#free.get(bytes);
    if (free) free.push(buffer);
    else this.#free.set(bytes, [buffer]);
    this.#kept += buffer.length;
  }
}
