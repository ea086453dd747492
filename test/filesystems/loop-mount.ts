import { mkdtemp, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf } from '../../src/errors.js';
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
    await this.#unmount();
    await output('losetup', '--detach', this.device);
    await rmdir(this.mountpoint);
  }

  /** What was killed in it may still be letting go of its files when its exit is known. */
  async #unmount(): Promise<void> {
    for (let left = 50; ; left--) {
      try {
        await output('umount', this.mountpoint);
        return;
      } catch (error) {
        if (left === 0 || !/target is busy/.test(messageOf(error))) throw error;
        await delay(100);
      }
    }
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
