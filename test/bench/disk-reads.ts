import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { contenders, randomRead, row, sequentialRead } from './file-reads.js';
import { nbdfuse, peakMemory, type Running, stillfs, storageDaemonFuse } from './mounts.js';
import type { Row } from './report.js';

const backup = 'qemu-1700000000';

/** Sequential and random reads of a stored raw and qcow2 image of `mebibytes`, all in the page cache of the host. */
export async function* diskReads(folder: string, mebibytes: number, rounds: number): AsyncGenerator<Row> {
  const images = join(folder, 'store', '100', backup);
  await mkdir(images, { recursive: true });
  const raw = join(images, 'plain.raw');
  const qcow2 = join(images, 'layered.qcow2');
  await execa('dd', ['if=/dev/urandom', `of=${raw}`, 'bs=1M', `count=${mebibytes}`, 'status=none']);
  await execa('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, qcow2]);
  for (const [format, image, disk] of [
    ['qcow2', qcow2, 'layered'],
    ['raw', raw, 'plain'],
  ] as const) {
    await execa('dd', [`if=${image}`, 'of=/dev/null', 'bs=1M', 'status=none']);
    const own = await stillfs(join(folder, 'store'), join(folder, 'mount'));
    const ownFile = join(own.path, 'backups/store/100/20231114T221320Z/disks', `${disk}.raw`);
    const nbd = await nbdfuse(image, format, join(folder, 'nbdfuse'));
    const daemon = await storageDaemonFuse(image, format, join(folder, `${format}.export`));
    const files = {
      stillfs: ownFile,
      'qemu-nbd + nbdfuse': nbd.path,
      'qemu-storage-daemon FUSE': daemon.path,
    };
    try {
      for (const direct of [false, true]) {
        const how = direct ? 'O_DIRECT' : 'buffered';
        const sequential = contenders(files, (file) => sequentialRead(file, direct));
        yield await row(`${format}, sequential, ${how}`, 'MB/s', sequential, rounds);
        for (const jobs of [1, 8]) {
          const random = contenders(files, (file) => randomRead(file, direct, jobs));
          yield await row(`${format}, 4 KiB random, ${how}, ${jobs} job(s)`, 'IOPS', random, rounds);
        }
      }
      yield await memory(format, own, nbd, daemon);
    } finally {
      await daemon.stop();
      await nbd.stop();
      await own.stop();
    }
  }
}

async function memory(format: string, own: Running, nbd: Running, daemon: Running): Promise<Row> {
  const measured = [];
  for (const [name, { pid }] of [
    ['stillfs', own],
    ['nbdfuse (without qemu-nbd)', nbd],
    ['qemu-storage-daemon FUSE', daemon],
  ] as const) {
    const peak = await peakMemory(pid);
    measured.push({ name, median: peak, all: [peak] });
  }
  return { title: `${format}, peak memory`, unit: 'MiB', higherIsBetter: false, measured };
}
