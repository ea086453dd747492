import { close, read, write, writeSync } from 'node:fs';
import { BusyPoll } from '../../src/busy-poll.js';
import { hasCode } from '../../src/errors.js';
import { canPoll, readPolled } from './polled-descriptor.js';
import { largestWrite } from './protocol/init.js';
import { parseRequest, type Request, requestRoom } from './protocol/request.js';

/** The kernel refuses reads of /dev/fuse with less room than its largest WRITE and that one's headers take. */
const requestBytes = requestRoom + largestWrite;

/** A reader asks again within this time, milliseconds. */
const mostIdle = 0.1;

type Receive = (message: Buffer) => void;

/** A descriptor of /dev/fuse: requests out, replies and notifications in. */
export class Device {
  readonly #descriptor: number;
  readonly #closing = new AbortController();
  readonly #busyPoll = new BusyPoll(mostIdle);
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
   *
   * The event loop polls the device, so that nothing that waits in Node's thread pool can keep requests from being
   * read. Where this Node can't poll it, two threads of the pool wait for it instead: one holds on while the other's
   * request is handed over.
   */
  async serve(handle: (request: Request) => void): Promise<void> {
    const receive: Receive = (message) => {
      this.#busyPoll.arrived();
      handle(parseRequest(message));
    };
    if (canPoll()) await this.#repeat(() => this.#readWhenReady(receive));
    else await Promise.all([1, 2].map(() => this.#repeat(() => this.#readInPool(receive))));
  }

  /** Sends a reply. False: nobody waits for it any more (the request was interrupted, or the mount has ended). */
  send(message: Buffer): boolean {
    if (this.#closing.signal.aborted) return false;
    try {
      writeSync(this.#descriptor, message);
      this.#busyPoll.replied();
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
    const before = this.#notifying;
    const sent = before.then(() => this.#write(message));
    this.#notifying = sent.catch(() => undefined);
    return sent;
  }

  /** Closes the descriptor. The kernel ends the mount's connection when its last descriptor is closed. */
  close(): void {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    // Nothing was written that a failing close could lose.
    close(this.#descriptor, () => undefined);
  }

  #write(message: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#closing.signal.aborted) {
        resolve();
        return;
      }
      write(this.#descriptor, message, (error) => {
        if (!error || hasCode(error, 'ENOENT') || hasCode(error, 'ENODEV')) resolve();
        else reject(error);
      });
    });
  }

  /** Reads until the mount has ended, also after reads that failed for a request that was taken back. */
  async #repeat(reading: () => Promise<void>): Promise<void> {
    while (!this.#closing.signal.aborted) {
      try {
        await reading();
      } catch (error) {
        if (hasCode(error, 'ENODEV') || this.#closing.signal.aborted) return;
        // ENOENT: the request was aborted while it was being handed over (fuse_dev_do_read in the kernel)
        const passing = hasCode(error, 'ENOENT') || hasCode(error, 'EINTR') || hasCode(error, 'EAGAIN');
        if (!passing) throw error;
      }
    }
  }

  #readWhenReady(receive: Receive): Promise<void> {
    return readPolled(this.#descriptor, Buffer.allocUnsafeSlow(requestBytes), receive, this.#closing.signal);
  }

  #readInPool(receive: Receive): Promise<void> {
    const buffer = Buffer.allocUnsafeSlow(requestBytes);
    return new Promise((_resolve, reject) => {
      const next = (): void =>
        read(this.#descriptor, buffer, 0, buffer.length, null, (error, length) => {
          if (error) {
            reject(error);
            return;
          }
          receive(buffer.subarray(0, length));
          next();
        });
      next();
    });
  }
}
