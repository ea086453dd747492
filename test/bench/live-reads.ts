import { join } from 'node:path';
import { execa } from 'execa';
import { MountedGuest } from '../e2e/mounted-guest.js';
import { devicePath } from '../machine/machine.js';
import { contenders, randomRead, row, sequentialRead } from './file-reads.js';
import { alternate, seconds } from './measure.js';
import { exists, peakMemory, start } from './mounts.js';
import type { Row } from './report.js';
import { snapshotExport } from './snapshot-export.js';

const disk = 'data';
const snapshot = 'bench';

/**
 * A running VM's disk of `mebibytes`, all of it random bytes in the host's page cache: reads through the mount against nbdfuse
 * on the same export, with nbdcopy, which writes no file, as the ceiling; the guest's pause; its own writes meanwhile.
 */
export async function* liveReads(mebibytes: number, rounds: number): AsyncGenerator<Row> {
  const bytes = mebibytes * 2 ** 20;
  const guest = await MountedGuest.make({ disks: [{ id: disk, bytes }] });
  try {
    const image = guest.image(disk);
    const fill = [
      'if=/dev/urandom',
      `of=${image}`,
      'bs=1M',
      `count=${mebibytes}`,
      'conv=notrunc',
      'status=none',
    ];
    await execa('dd', fill);
    await guest.mount();
    await guest.take(snapshot);
    const file = guest.path(snapshot, 'disks', `${disk}.raw`);
    const uri = await snapshotExport(guest.state);
    const folder = join(guest.folder, 'nbdfuse');
    await execa('mkdir', ['-p', folder]);
    const peer = join(folder, 'nbd');
    const nbdfuse = await start('nbdfuse', ['-r', folder, uri], peer, () => exists(peer));
    const files = { stillfs: file, 'nbdfuse, same export': peer };
    const ceiling = { name: 'nbdcopy to null (no file)', run: () => nbdcopy(uri, bytes) };
    try {
      for (const direct of [false, true]) {
        const how = direct ? 'O_DIRECT' : 'buffered';
        const sequential = [...contenders(files, (path) => sequentialRead(path, direct)), ceiling];
        yield await row(`live, sequential, ${how}`, 'MB/s', sequential, rounds);
        for (const jobs of [1, 8]) {
          const random = contenders(files, (path) => randomRead(path, direct, jobs));
          yield await row(`live, 4 KiB random, ${how}, ${jobs} job(s)`, 'IOPS', random, rounds);
        }
      }
      const peak = await peakMemory(guest.pid);
      yield {
        title: 'live, peak memory of the daemon',
        unit: 'MiB',
        higherIsBetter: false,
        measured: [{ name: 'stillfs', median: peak, all: [peak] }],
      };
    } finally {
      await execa('fusermount3', ['-u', folder]);
      await nbdfuse.stop();
    }
    await guest.finish(snapshot);
    yield await guestWrites(guest, rounds);
  } finally {
    await guest.remove();
  }
  yield await pausesBySize(rounds);
}

async function nbdcopy(uri: string, bytes: number): Promise<number> {
  return bytes / 1e6 / (await seconds(() => execa('nbdcopy', [uri, 'null:'])));
}

/** Direct writes of 64 KiB by the guest itself, with a snapshot open (each place is written for the first time) and without. */
async function guestWrites(guest: MountedGuest, rounds: number): Promise<Row> {
  const write = async (): Promise<number> => {
    const mebibytes = 32;
    const line = `dd if=/dev/zero of=${devicePath(disk)} bs=64k count=${mebibytes * 16} oflag=direct conv=notrunc`;
    return mebibytes / (await seconds(() => guest.machine.output(line)));
  };
  const during = async (): Promise<number> => {
    await guest.take(snapshot);
    try {
      return await write();
    } finally {
      await guest.finish(snapshot);
    }
  };
  const measured = await alternate(
    [
      { name: 'with a snapshot open', run: during },
      { name: 'without', run: write },
    ],
    rounds,
  );
  return { title: 'guest writes 64 KiB direct', unit: 'MiB/s', higherIsBetter: true, measured };
}

/** How long the guest stands still, for disks of different sizes. */
async function pausesBySize(rounds: number): Promise<Row> {
  const sizes = [1, 64, 1024].map((gibibytes) => ({ gibibytes, bytes: gibibytes * 2 ** 30 }));
  const guests: MountedGuest[] = [];
  try {
    for (const { bytes } of sizes) {
      const guest = await MountedGuest.make({ disks: [{ id: disk, bytes, format: 'qcow2' }] });
      guests.push(guest);
      await guest.mount();
    }
    const measured = await alternate(
      guests.map((guest, index) => ({
        name: `${sizes[index]?.gibibytes} GiB`,
        run: async () => {
          const { pauseMilliseconds } = await guest.take('chain@bench');
          await guest.finish('chain@bench', 'success');
          return pauseMilliseconds;
        },
      })),
      rounds,
    );
    return { title: 'guest pause by size of the disk', unit: 'ms', higherIsBetter: false, measured };
  } finally {
    for (const guest of guests) await guest.remove();
  }
}
