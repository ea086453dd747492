import { mkdir, readdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { builtCommand } from '../built-command.js';
import { makeDurable, timed } from './durable.js';
import { domain, type LibvirtGuest } from './libvirt-guest.js';
import type { Contender } from './measure.js';
import { snapshotExport } from './snapshot-export.js';

/**
 * The ways to back up one guest. Each counts from the command to when all is on the disk for good. Tools that know nothing of
 * snapshots get one from stillfs, whose taking and ending counts too.
 */
export class ProviderBackups {
  /** The store with the chain of `stillfs backup`. */
  readonly store: string;
  /** The chain of virtnbdbackup. */
  readonly virtnbdbackups: string;

  constructor(
    private readonly guest: LibvirtGuest,
    private readonly folder: string,
  ) {
    this.store = join(folder, 'store');
    this.virtnbdbackups = join(folder, 'virtnbdbackups');
  }

  /** A backup of the whole disk, which has nothing to do with any other. */
  whole(): Contender[] {
    const exported = (): Promise<string> => snapshotExport(this.guest.state);
    return [
      this.#intoNewFolder('stillfs backup --full', (to) => this.#stillfs(to, '--full')),
      this.#intoNewFolder('virtnbdbackup -l copy', (to) => this.#virtnbdbackup(to, 'copy')),
      this.#ofSnapshot('qemu-img convert, same export', async (to) =>
        qemuImgConvert(await exported(), join(to, 'disk.qcow2')),
      ),
      this.#ofSnapshot('qemu-img convert, mounted .raw', async (to, snapshot) =>
        qemuImgConvert(await mountedDisk(snapshot), join(to, 'disk.qcow2')),
      ),
      this.#ofSnapshot('nbdcopy to a raw file, same export', async (to) => {
        await execa('nbdcopy', [await exported(), join(to, 'disk.raw')]);
      }),
    ];
  }

  /** Makes what increments are built upon. */
  async beginChains(): Promise<void> {
    for (const folder of [this.store, this.virtnbdbackups]) await mkdir(folder, { recursive: true });
    await this.#stillfs(this.store, '--chain=bench');
    await this.#virtnbdbackup(this.virtnbdbackups, 'full');
  }

  /** The next increment of each chain: all of them of the same changes. */
  increments(): Contender[] {
    return [
      { name: 'stillfs backup', run: () => timed(() => this.#stillfs(this.store, '--chain=bench')) },
      {
        name: 'virtnbdbackup -l inc',
        run: () => timed(() => this.#virtnbdbackup(this.virtnbdbackups, 'inc')),
      },
    ];
  }

  #intoNewFolder(name: string, backUp: (to: string) => Promise<void>): Contender {
    const to = join(this.folder, 'whole');
    return {
      name,
      run: async () => {
        await mkdir(to, { recursive: true });
        try {
          return await timed(() => backUp(to));
        } finally {
          await rm(to, { recursive: true });
        }
      },
    };
  }

  #ofSnapshot(name: string, copy: (to: string, snapshot: string) => Promise<void>): Contender {
    const snapshot = join(this.guest.mountpoint, 'guests', '100', 'snapshots', 'peer');
    return this.#intoNewFolder(name, async (to) => {
      await mkdir(snapshot);
      try {
        await copy(to, snapshot);
        await makeDurable(to);
      } finally {
        await rmdir(snapshot);
      }
    });
  }

  async #stillfs(store: string, option: '--full' | '--chain=bench'): Promise<void> {
    const args = ['backup', '100', '--mount', this.guest.mountpoint, '--store', store, option];
    await execa(process.execPath, [builtCommand, ...args]);
  }

  async #virtnbdbackup(to: string, level: 'copy' | 'full' | 'inc'): Promise<void> {
    await this.guest.libvirt.run('virtnbdbackup', '-n', '-d', domain, '-l', level, '-o', to);
    await makeDurable(to);
  }
}

async function mountedDisk(snapshot: string): Promise<string> {
  const disks = join(snapshot, 'disks');
  const name = (await readdir(disks)).find((each) => each.endsWith('.raw')) ?? '';
  return join(disks, name);
}

async function qemuImgConvert(from: string, to: string): Promise<void> {
  await execa('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', from, to]);
}
