import { isAbort, messageOf } from '../../src/errors.js';
import type { Logger } from '../../src/log.js';
import type { Node } from '../forest/forest.js';
import { readWhole } from '../whole-read.js';
import type { Device } from './device.js';
import type { OpenFile, OpenFiles } from './open-handles.js';
import { storedContent } from './protocol/notification.js';

/** Larger files are read as they are asked for. */
const mostBytes = 64 * 1024;

/**
 * Small files whose bytes the kernel was given when they were opened, so that who reads one file after another asks once for each
 * and not twice.
 */
export class StoredContents {
  readonly #device: Device;
  readonly #log: Logger;
  /** The kernel has their bytes already, or has let go of them for want of memory, and will ask if it wants them again. */
  readonly #given = new WeakSet<Node>();

  constructor(device: Device, log: Logger) {
    this.#device = device;
    this.#log = log;
  }

  /** Reads an opened file, where that is worth while; what it gives stores the bytes, to be called right before the reply to the open. */
  async of(file: OpenFile, files: OpenFiles, signal: AbortSignal): Promise<(() => void) | undefined> {
    const { node, opened, passthrough } = file;
    const { whole, cache, handle } = opened;
    const { tree } = node.planted;
    // A tree that tells of changes may tell of one while these bytes are on their way.
    const lasts = cache === 'keep' && !passthrough && !tree.watch;
    if (!whole || whole > mostBytes || !lasts || this.#given.has(node)) return undefined;
    const { message, content } = storedContent(node.number, whole);
    try {
      const path = (): string => `inode ${node.inode}`;
      const read = { tree, inode: node.inode, handle, size: whole, offset: 0, path };
      if ((await readWhole(read, content, signal)) !== whole) return undefined;
    } catch (error) {
      // Who reads it hears of the failure.
      if (!isAbort(error))
        this.#log.debug(`inode ${node.inode} is not read ahead of its readers: ${messageOf(error)}`);
      return undefined;
    }
    return () => {
      // The kernel waits for the lock of a page that somebody reads, and that reader for us. Only a file that nobody else has open
      // has no such reader; this thread gives no other reply before the one to this open.
      if (files.opensOf(node.number) !== 1) return;
      this.#given.add(node);
      try {
        this.#device.send(message);
      } catch (error) {
        this.#log.debug(
          `the kernel did not take the bytes of inode ${node.inode} ahead of its readers: ${messageOf(error)}`,
        );
      }
    };
  }
}
