import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { builtCommand } from '../built-command.js';
import { MountedGuest } from '../e2e/mounted-guest.js';
import { devicePath } from '../machine/machine.js';
import { timed } from './durable.js';
import { alternate } from './measure.js';
import type { Row } from './report.js';

const disk = 'data';

/** Increments of the same amount of changes, of disks of very different sizes. */
export async function incrementsBySize(mebibytes: number, rounds: number): Promise<Row> {
  const guests = new Map<string, MountedGuest>();
  const backUp = async ({ folder, mountpoint }: MountedGuest): Promise<void> => {
    const to = ['--mount', mountpoint, '--store', join(folder, 'store')];
    await execa(process.execPath, [builtCommand, 'backup', '100', ...to]);
  };
  try {
    for (const gibibytes of [8, 64, 1024]) {
      const bytes = gibibytes * 2 ** 30;
      const guest = await MountedGuest.make({ agent: false, disks: [{ id: disk, bytes, format: 'qcow2' }] });
      guests.set(`disk of ${gibibytes} GiB`, guest);
      await mkdir(join(guest.folder, 'store'));
      await guest.mount();
      await backUp(guest);
    }
    const write = `yes noise | dd of=${devicePath(disk)} bs=1M count=${mebibytes} iflag=fullblock conv=notrunc,fsync`;
    const measured = await alternate(
      [...guests].map(([name, guest]) => ({ name, run: () => timed(() => backUp(guest)) })),
      rounds,
      async () => {
        for (const { machine } of guests.values()) await machine.output(write);
      },
    );
    return {
      title: `increment of ${mebibytes} MiB, by size of the disk`,
      unit: 's',
      higherIsBetter: false,
      measured,
    };
  } finally {
    for (const guest of guests.values()) await guest.remove();
  }
}
