import { StillError } from '../../src/errors.js';
import { receiveDescriptor, socketPair } from '../../src/posix/received-descriptor.js';
import { runWithDescriptor } from '../../src/posix/spawn-with-descriptor.js';
import type { MountOptions } from '../transport.js';
import { closeDescriptor, commonOptions } from './mount-command.js';

// fusermount3 drops or adds these itself, and refuses to be told.
const itsOwn = new Set(['rw']);

/**
 * Mounts as an ordinary user: fusermount3 (setuid root) opens /dev/fuse, mounts, and passes the descriptor over the
 * Unix socket that _FUSE_COMMFD names (SCM_RIGHTS). Gives the descriptor of the device.
 */
export async function mountByFusermount3(options: MountOptions): Promise<number> {
  const [ours, theirs] = socketPair();
  try {
    // A comma would end the option, and there is no way to quote one.
    const source = `fsname=${options.source.replaceAll(',', '_')}`;
    const mountOptions = [...commonOptions(options).filter((option) => !itsOwn.has(option)), source];
    const args = ['-o', mountOptions.join(','), '--', options.mountpoint];
    const result = await runWithDescriptor('fusermount3', args, theirs, { _FUSE_COMMFD: '3' });
    closeDescriptor(theirs);
    if (result.missing) {
      throw new StillError(
        'EPERM',
        'only root may mount without fusermount3: install it (Debian: apt install fuse3)',
      );
    }
    // It has ended, so nobody else holds the other side: the wait ends with a descriptor or without one.
    const device = result.exitCode === 0 ? await receiveDescriptor(ours) : undefined;
    if (device !== undefined) return device;
    throw new StillError('EPERM', `mounting on ${options.mountpoint} failed: ${result.said}`);
  } finally {
    closeDescriptor(ours);
  }
}
