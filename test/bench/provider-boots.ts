import { rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { Machine, type MachineOptions } from '../machine/machine.js';
import { timed } from './durable.js';
import type { Contender } from './measure.js';
import { type Running, stillfs } from './mounts.js';
import { newestImage } from './provider-restores.js';

const script = fileURLToPath(
  new URL('scripts/boot-from-backup', import.meta.url.replace(/(dist\/)?test\/bench\/[^/]+$/, '')),
);

/**
 * From the first command until a guest that had nothing but its backup takes commands. `disk` is its disk as it was: to boot that tells
 * how long a boot takes by itself. `folder` is for what is restored.
 */
export async function bootTimes(store: string, disk: string, folder: string): Promise<Contender[]> {
  const image = await newestImage(store);
  const id = basename(image, '.qcow2');
  const mountpoint = join(folder, 'mount');
  const restored = join(folder, 'restored');
  const onOverlay = {
    command: [script, join(mountpoint, 'backups', 'store', '100', 'latest'), restored, '--'],
    disks: [id],
  };
  const raw = join(folder, 'disk.raw');
  return [
    contender('stillfs mount and boot-from-backup', folder, async (boot) => {
      const mount = await stillfs(store, mountpoint);
      await boot({ launcher: onOverlay }, mount);
    }),
    contender('qemu-img convert to raw, and boot that', folder, async (boot) => {
      await execa('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', image, raw]);
      await boot({ disks: [{ id, file: raw }] });
    }),
    contender('the disk as it was', folder, (boot) => boot({ disks: [{ id, file: disk, format: 'qcow2' }] })),
  ];
}

type Boot = (options: MachineOptions, mount?: Running) => Promise<void>;

/** Boots once, and clears away what there is when the guest has answered. */
function contender(name: string, folder: string, work: (boot: Boot) => Promise<void>): Contender {
  return {
    name,
    run: async () => {
      let machine: Machine | undefined;
      let mounted: Running | undefined;
      const boot: Boot = async (options, mount) => {
        mounted = mount;
        machine = await Machine.start({ ...options, agent: false });
      };
      try {
        await execa('mkdir', ['-p', folder]);
        return await timed(() => work(boot));
      } finally {
        await machine?.remove();
        await mounted?.stop();
        await rm(folder, { recursive: true, force: true });
      }
    },
  };
}
