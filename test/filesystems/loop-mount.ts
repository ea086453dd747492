import { mkdtemp, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { output } from '../e2e/served-mount.js';

/** An image mounted by the kernel, over a loop device of its own. */
export class LoopMount {
  private constructor(
    readonly device: string,
    readonly mountpoint: string,
  ) {}

  static async start(image: string, type: string, options: string): Promise<LoopMount> {
    const isReadOnly = options.split(',').includes('ro');
    const device = (
      await output('losetup', '--find', '--show', ...(isReadOnly ? ['--read-only'] : []), image)
    ).trim();
    const mountpoint = await mkdtemp(join(tmpdir(), `${type}-loop-`));
    try {
      await output('mount', '-t', type, '-o', options, device, mountpoint);
      return new LoopMount(device, mountpoint);
    } catch (error) {
      await output('losetup', '--detach', device);
      await rmdir(mountpoint);
      throw error;
    }
  }

  path(...names: string[]): string {
    return join(this.mountpoint, ...names);
  }

  /** Unmounts, which writes everything to the image. */
  async stop(): Promise<void> {
    await output('umount', this.mountpoint);
    await output('losetup', '--detach', this.device);
    await rmdir(this.mountpoint);
  }
}

/** Mounts an image, lets `use` do something with it, and unmounts it whatever comes of that. */
export async function withLoopMount<T>(
  image: string,
  type: string,
  options: string,
  use: (mount: LoopMount) => T | Promise<T>,
): Promise<T> {
  const mount = await LoopMount.start(image, type, options);
  try {
    return await use(mount);
  } finally {
    await mount.stop();
  }
}
