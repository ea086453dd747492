import { close, read, write, writeSync } from 'node:fs';
import { hasCode } from '../../src/errors.js';
import { largestWrite } from './protocol/init.js';
import { parseRequest, type Request, requestRoom } from './protocol/request.js';

/** The kernel refuses reads of /dev/fuse with less room than its largest WRITE and that one's headers take. */
const requestBytes = requestRoom + largestWrite;

/**
 * A descriptor of /dev/fuse: requests out, replies and notifications in. Each pending read of it holds one thread of
 * Node's pool, so there are as few as keep one waiting while another's request is handed over.
 */
export class Device {
  readonly #descriptor: number;
  #closed = false;
  #notifying: Promise<void> = Promise.resolve();

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  get descriptor(): number {
    return this.#descriptor;
  }

  /**
   * Hands every request to `handle`, which must take what it needs of the body before it awaits, and must not throw.
   * Settles when the mount has ended; rejects when the device fails otherwise.
   */
  async serve(handle: (request: Request) => void, readers = 2): Promise<void> {
    await Promise.all(Array.from({ length: readers }, () => this.#readOn(handle)));
  }

  /** Sends a reply. False: nobody waits for it any more (the request was interrupted, or the mount has ended). */
  send(message: Buffer): boolean {
    if (this.#closed) return false;
    try {
      writeSync(this.#descriptor, message);
      return true;
    } catch (error) {
      if (hasCode(error, 'ENOENT') || hasCode(error, 'ENODEV') || hasCode(error, 'EPERM')) return false;
      throw error;
    }
  }

  /**
   * Sends a notification. The kernel may make it wait for a lock that is held by somebody who waits for a reply of
   * ours, so it is written in the pool, one at a time, and never while this thread stands still. Settles when the
   * kernel has taken it, also if it knows nothing of what the notification is about.
   */
  notify(message: Buffer): Promise<void> {
    this.#notifying = this.#notifying.then(
      () =>
        new Promise((resolve, reject) => {
          if (this.#closed) {
            resolve();
            return;
          }
          write(this.#descriptor, message, (error) => {
            if (!error || hasCode(error, 'ENOENT') || hasCode(error, 'ENODEV')) resolve();
            else reject(error);
          });
        }),
    );
    return this.#notifying;
  }

  /** Closes the descriptor. The kernel ends the mount's connection when its last descriptor is closed. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // Nothing was written that a failing close could lose.
    close(this.#descriptor, () => undefined);
  }

  #readOn(handle: (request: Request) => void): Promise<void> {
    const bytes = Buffer.allocUnsafeSlow(requestBytes);
    return new Promise((resolve, reject) => {
      const next = (): void => {
        if (this.#closed) {
          resolve();
          return;
        }
        read(this.#descriptor, bytes, 0, bytes.length, null, (error, length) => {
          if (!error) {
            handle(parseRequest(bytes.subarray(0, length)));
            next();
          } else if (hasCode(error, 'ENODEV') || (this.#closed && hasCode(error, 'EBADF'))) {
            resolve();
          } else if (hasCode(error, 'EINTR') || hasCode(error, 'EAGAIN') || hasCode(error, 'ENOENT')) {
            // ENOENT: the request was aborted while it was being handed over (fuse_dev_do_read in the kernel)
            next();
          } else {
            reject(error);
          }
        });
      };
      next();
    });
  }
}
