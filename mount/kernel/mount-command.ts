import { close, open } from 'node:fs';
import { promisify } from 'node:util';
import { StillError } from '../../src/errors.js';
import { runWithDescriptor } from '../../src/posix/spawn-with-descriptor.js';
import type { MountOptions } from '../transport.js';

const openFile = promisify(open);

/** Opens /dev/fuse. Each error says what to do. */
export async function openFuseDevice(): Promise<number> {
  try {
    return await openFile('/dev/fuse', 'r+');
  } catch (error) {
    throw new StillError(
      'ENODEV',
      '/dev/fuse can not be opened; is the fuse module loaded, and are you allowed to use it?',
      {
        cause: error,
      },
    );
  }
}

/** The options that every way of mounting passes on, as mount(8) writes them. */
export function commonOptions(options: MountOptions): string[] {
  return [
    'nosuid',
    'nodev',
    options.readOnly ? 'ro' : 'rw',
    'default_permissions',
    ...(options.allowOther ? ['allow_other'] : []),
    'subtype=stillfs',
  ];
}

/**
 * Mounts as root: mount(8) gets the open device as its descriptor 3. The device can be read once this has returned; the
 * kernel's first request waits there.
 */
export async function mountByCommand(device: number, options: MountOptions): Promise<void> {
  const all = ['fd=3', 'rootmode=40000', 'user_id=0', 'group_id=0', ...commonOptions(options)];
  const args = ['-i', '-t', 'fuse', '-o', all.join(','), '--', options.source, options.mountpoint];
  const result = await runWithDescriptor('mount', args, device);
  if (result.exitCode === 0) return;
  throw new StillError('EPERM', `mounting on ${options.mountpoint} failed: ${result.said}`);
}

export function closeDescriptor(descriptor: number): void {
  // Nothing is written through these: a failing close loses nothing.
  close(descriptor, () => undefined);
}
