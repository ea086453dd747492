import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { type Running, start } from './mounts.js';

/** Mounts something on a folder that there is. */
export type Mount = (mountpoint: string) => Promise<Running>;

/** Has something mounted on a folder of its own while it is used. */
export async function withMount<T>(
  folder: string,
  mount: Mount,
  use: (path: string, pid: number) => Promise<T>,
): Promise<T> {
  const mountpoint = await mkdtemp(join(folder, 'mount-'));
  const running = await mount(mountpoint);
  try {
    return await use(running.path, running.pid);
  } finally {
    await running.stop();
    await rm(mountpoint, { recursive: true, force: true });
  }
}

/** A FUSE server that stays in the foreground, as soon as something is listed in its mount. */
export async function fuse(program: string, args: readonly string[], mountpoint: string): Promise<Running> {
  const ready = async (): Promise<boolean> => {
    const names = await readdir(mountpoint).catch(() => []);
    return names.length > 0;
  };
  const running = await start(program, args, mountpoint, ready);
  return {
    ...running,
    stop: async () => {
      await execa('umount', [mountpoint]);
      await running.stop();
    },
  };
}

/** The kernel's own mount of an image. */
export async function kernel(
  type: string,
  options: string,
  image: string,
  mountpoint: string,
): Promise<Running> {
  await mkdir(mountpoint, { recursive: true });
  await execa('mount', ['-t', type, '-o', `ro,loop,${options}`, image, mountpoint]);
  return {
    path: mountpoint,
    pid: 0,
    stop: async () => {
      await execa('umount', [mountpoint]);
    },
  };
}
