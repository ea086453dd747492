import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { builtCommand } from '../built-command.js';
import { makeDurable, timed } from './durable.js';
import type { Libvirt } from './libvirt.js';
import type { Contender } from './measure.js';
import type { ProviderBackups } from './provider-backups.js';

/** The newest backup of a chain to a raw file that is on the disk for good. `folder` is where to. */
export function restoreTimes(
  { store, virtnbdbackups }: ProviderBackups,
  libvirt: Libvirt,
  folder: string,
): Contender[] {
  const contender = (name: string, restore: (to: string) => Promise<unknown>): Contender => ({
    name,
    run: async () => {
      await mkdir(folder, { recursive: true });
      try {
        return await timed(async () => {
          await restore(folder);
          await makeDurable(folder);
        });
      } finally {
        await rm(folder, { recursive: true });
      }
    },
  });
  return [
    contender('stillfs restore (compares checksums)', (to) =>
      execa(process.execPath, [builtCommand, 'restore', `${store}:100`, '--to', to]),
    ),
    contender('qemu-img convert of the stored chain', async (to) =>
      execa('qemu-img', [
        ...['convert', '-f', 'qcow2', '-O', 'raw'],
        ...[await newestImage(store), join(to, 'disk.raw')],
      ]),
    ),
    contender('virtnbdrestore of its own chain', (to) =>
      libvirt.run('virtnbdrestore', '-n', '-i', virtnbdbackups, '-o', to),
    ),
  ];
}

/** The image of a store's newest backup. */
export async function newestImage(store: string): Promise<string> {
  const guest = join(store, '100');
  const newest =
    (await readdir(guest))
      .filter((name) => !name.startsWith('.'))
      .sort()
      .at(-1) ?? '';
  const image = (await readdir(join(guest, newest))).find((name) => name.endsWith('.qcow2')) ?? '';
  return join(guest, newest, image);
}
