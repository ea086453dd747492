import { hasCode } from '../../src/errors.js';
import { systemCall } from '../../src/posix/call.js';
import type { NodeNumber } from '../forest/node-number.js';

const ioctl = systemCall('int ioctl(int descriptor, unsigned long request, void *argument)');
// _IOW(229, 1, struct fuse_backing_map) and _IOW(229, 2, uint32_t) in linux/fuse.h (7.40)
const FUSE_DEV_IOC_BACKING_OPEN = 0x4010e501;
const FUSE_DEV_IOC_BACKING_CLOSE = 0x4004e502;

interface BackingFile {
  readonly id: number;
  opens: number;
}

/**
 * Files that the kernel reads by itself (FUSE passthrough, Linux 6.9). It takes one backing file for each node at a
 * time, so all who have the node open share one.
 */
export class BackingFiles {
  readonly #device: number;
  readonly #ofNode = new Map<NodeNumber, BackingFile>();
  /** False once the kernel said that we may not (CAP_SYS_ADMIN is needed). */
  allowed = true;

  constructor(device: number) {
    this.#device = device;
  }

  /** The backing id for one more open of a node. Throws what the ioctl says: EPERM, ELOOP for stacked file systems. */
  open(node: NodeNumber, descriptor: number): number {
    const shared = this.#ofNode.get(node);
    if (shared) {
      shared.opens++;
      return shared.id;
    }
    const id = this.#register(descriptor);
    this.#ofNode.set(node, { id, opens: 1 });
    return id;
  }

  #register(descriptor: number): number {
    const map = Buffer.alloc(16); // struct fuse_backing_map: int32 fd, uint32 flags, uint64 padding
    map.writeInt32LE(descriptor, 0);
    try {
      return ioctl.now(`descriptor ${descriptor}`, this.#device, FUSE_DEV_IOC_BACKING_OPEN, map);
    } catch (error) {
      if (hasCode(error, 'EPERM')) this.allowed = false;
      throw error;
    }
  }

  /** Takes one open back. */
  close(node: NodeNumber): void {
    const shared = this.#ofNode.get(node);
    if (!shared) return;
    shared.opens--;
    if (shared.opens > 0) return;
    this.#ofNode.delete(node);
    const id = Buffer.alloc(4);
    id.writeInt32LE(shared.id);
    ioctl.now(`backing id ${shared.id}`, this.#device, FUSE_DEV_IOC_BACKING_CLOSE, id);
  }
}
