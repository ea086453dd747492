import { appendFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BackedUpGuest, type Child, heard } from '../backups/backed-up-guest.js';
import { childrenOf } from '../backups/children.js';
import { described } from '../backups/stored-backup.js';
import { writeMarked } from '../machine/known-writes.js';
import { output } from './served-mount.js';

const mebibyte = 2 ** 20;
const bytes = 4 * mebibyte;
/** What a backup takes here, about, with the rate that it is given; and from its snapshot on. */
const backupMilliseconds = 3500;
const readingMilliseconds = 2000;
const rounds = process.env.STILLFS_FULL === undefined ? 6 : 60;

/** What is killed, or full, while a backup goes on. */
const ends = [
  'the provider',
  'the image server',
  'the daemon of the mount',
  'QEMU',
  'the store is full',
  'fleecing is full',
] as const;
type End = (typeof ends)[number];

/** Fills a file system, until `rm`. */
async function fillUp(folder: string): Promise<string> {
  const ballast = join(folder, '.ballast');
  await writeFile(ballast, '');
  for (const size of [mebibyte, 4096]) {
    const piece = Buffer.alloc(size, 1);
    for (let isFull = false; !isFull; )
      await appendFile(ballast, piece).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOSPC') throw error;
        isFull = true;
      });
  }
  return ballast;
}

describe('a backup that comes to a sudden end', () => {
  let backedUp: BackedUpGuest;
  const mounted: string[] = [];
  let writes = 0;

  beforeAll(async () => {
    backedUp = await BackedUpGuest.make({ agent: false, disks: [{ id: 'disk', bytes, format: 'qcow2' }] });
    for (const [folder, size] of [
      [backedUp.store, '300m'],
      [backedUp.guest.fleecing, '16m'],
    ] as const) {
      await output('mount', '-t', 'tmpfs', '-o', `size=${size}`, 'small', folder);
      mounted.push(folder);
    }
    await backedUp.guest.mount();
    await write();
    await backedUp.backup();
  });
  afterAll(async () => {
    await backedUp?.guest.end();
    await backedUp?.guest.machine.remove();
    for (const folder of mounted) await output('umount', folder);
    await backedUp?.remove();
  });

  /** The guest writes somewhere else each time, so that a lost increment would be seen. */
  const write = (length = mebibyte): Promise<void> => {
    const offset = (writes++ * 5 * 65_536) % (bytes - mebibyte);
    return writeMarked(backedUp.guest.machine, 'disk', offset, length, `write ${writes}`);
  };

  /** Brings the end about and gives what puts all right again when the backup is over. */
  const bringAbout = async (end: End, child: Child): Promise<() => Promise<void>> => {
    const { guest, store } = backedUp;
    switch (end) {
      case 'the provider':
        child.kill('SIGKILL');
        return async () => undefined;
      case 'the image server':
        for (const pid of await childrenOf(child.pid ?? 0)) process.kill(pid, 'SIGKILL');
        return async () => undefined;
      case 'the daemon of the mount':
        await guest.end('SIGKILL');
        return async () => {
          await output('umount', '-l', guest.mountpoint);
          await guest.mount();
        };
      case 'QEMU':
        await guest.machine.kill();
        return async () => {
          await guest.end();
          await guest.machine.remove();
          await guest.boot();
          await guest.mount();
        };
      case 'the store is full': {
        const ballast = await fillUp(store);
        return () => rm(ballast);
      }
      case 'fleecing is full': {
        const ballast = await fillUp(guest.fleecing);
        await writeMarked(guest.machine, 'disk', 0, bytes, `over everything ${writes++}`);
        return () => rm(ballast);
      }
    }
  };

  it(`is stored as a whole or not at all, and the next one holds what it did not: ${rounds} random moments`, async () => {
    const table: string[] = [];
    for (let round = 0; round < rounds; round++) {
      const end = ends[round % ends.length] ?? 'the provider';
      await write();
      const hashes = await backedUp.guestHashes();
      const before = await backedUp.backups();
      const child = backedUp.start(['--bwlimit', '512K']);
      // Only from the snapshot on is there an image, and is kept what the guest overwrites.
      const fromSnapshot = end === 'the image server' || end === 'fleecing is full';
      if (fromSnapshot) await heard(child, /took the snapshot/);
      const after = Math.round(Math.random() * (fromSnapshot ? readingMilliseconds : backupMilliseconds));
      // A random moment is what is asked for.
      await new Promise((resolve) => setTimeout(resolve, after));
      const putRight = await bringAbout(end, child);
      const { exitCode } = await child;
      await putRight();
      const story = `${end} after ${after} ms, exit code ${exitCode ?? 'none'}`;
      const stored = (await backedUp.published()).filter((name) => !before.includes(name));
      for (const name of stored) backedUp.record(name, hashes);
      if (exitCode === 0) expect(stored, story).toHaveLength(1);

      const next = await backedUp.backup();
      expect(await backedUp.left(), story).toEqual([]);
      expect(await backedUp.guest.leftInQemu(), story).toEqual([]);
      expect(await readdir(backedUp.guest.fleecing), story).toEqual([]);
      expect(await backedUp.wrong('new'), story).toEqual([]);
      // QEMU's own end takes the bitmap with it: then the disk is compared, and only what differs is stored.
      const { disks, parent } = await described(next);
      expect(parent, story).toBe(stored[0] ?? before.at(-1));
      expect(disks.disk?.mode, story).toBe(end === 'QEMU' ? 'compared' : 'reuse');
      table.push(
        `| ${round + 1} | ${end} | ${after} ms | ${exitCode ?? 'killed'} | ${stored.length} | ${disks.disk?.mode} |`,
      );
    }
    expect(await backedUp.wrong()).toEqual([]);
    process.stdout.write(
      `| run | what | after | exit code | stored | the next one |\n|---|---|---|---|---|---|\n${table.join('\n')}\n`,
    );
  }, 1_800_000);
});
