import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { LibvirtGuest } from './libvirt-guest.js';
import { alternate, type Contender } from './measure.js';
import { ProviderBackups } from './provider-backups.js';
import { bootTimes } from './provider-boots.js';
import { restoreTimes } from './provider-restores.js';
import type { Row } from './report.js';

/** How much of the disk is data. */
const dataPart = 1 / 4;

/** What the guest writes between two increments: so much of the disk, in pieces of so many bytes, spread over its data. */
const changes = [
  { part: 0.01, piece: 2 ** 20, title: '1 % dirty' },
  { part: 0.1, piece: 2 ** 20, title: '10 % dirty' },
  { part: 0.01, piece: 2 ** 16, title: '1 % dirty, in pieces of 64 KiB' },
];

/** A running VM's disk of so many MiB, backed up as a whole and by increments, restored, and booted from its backup. */
export async function* providerTimes(folder: string, mebibytes: number, rounds: number): AsyncGenerator<Row> {
  const data = mebibytes * dataPart;
  const work = join(folder, 'provider');
  const guest = await LibvirtGuest.make((path) => makeDisk(path, mebibytes, data));
  const backups = new ProviderBackups(guest, work);
  const size = `${mebibytes} MiB with ${data} MiB of data`;
  try {
    yield await row(`backup of a whole disk, ${size}`, backups.whole(), rounds);
    await backups.beginChains();
    for (const { part, piece, title } of changes) {
      const times = Math.ceil((mebibytes * 2 ** 20 * part) / piece);
      const stride = Math.floor((data * 2 ** 20) / times / piece) * piece;
      const write = (): Promise<void> => guest.write(piece, times, stride);
      yield await row(`increment, ${title}`, backups.increments(), rounds, write);
    }
    const images = 1 + changes.length * rounds;
    const restores = restoreTimes(backups, guest.libvirt, join(work, 'restored'));
    yield await row(`restore to raw, of a chain of ${images} images`, restores, rounds);
    await guest.powerOff();
    const boots = await bootTimes(backups.store, guest.disk, join(work, 'booted'));
    yield await row('from the command to a guest that answers', boots, rounds);
  } finally {
    await guest.remove();
    await rm(work, { recursive: true, force: true });
  }
}

async function row(
  title: string,
  contenders: readonly Contender[],
  rounds: number,
  before?: () => Promise<void>,
): Promise<Row> {
  return { title, unit: 's', higherIsBetter: false, measured: await alternate(contenders, rounds, before) };
}

/** A qcow2 image of so many MiB that begins with data. */
async function makeDisk(path: string, mebibytes: number, data: number): Promise<void> {
  const raw = `${path}.raw`;
  await execa('dd', ['if=/dev/urandom', `of=${raw}`, 'bs=1M', `count=${data}`, 'status=none']);
  await execa('truncate', ['-s', `${mebibytes}M`, raw]);
  await execa('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, path]);
  await rm(raw);
}
