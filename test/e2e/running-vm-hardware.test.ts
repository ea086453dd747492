import { open, readdir, readFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { allocate, KEEP_SIZE, PUNCH_HOLE } from '../conformance/system-calls.js';
import { numbers } from '../corpus/qcow2-images.js';
import { writeMarked } from '../machine/known-writes.js';
import type { DiskBus } from '../machine/machine-disk.js';
import { granuleBytes, granulesOf, guestSha256, KeptCopies } from './increments.js';
import { type GuestDisk, MountedGuest } from './mounted-guest.js';
import { output, sha256 } from './served-mount.js';

const mebibyte = 2 ** 20;
const diskBytes = 6 * mebibyte;
const full = process.env.STILLFS_FULL !== undefined;
const discards = full ? 1000 : 100;

/**
 * Every way to give a VM a disk on this bus: with an I/O thread and without, -blockdev and -drive, raw and qcow2. The short form tries
 * -drive on one bus alone: it differs by the name.
 */
function everyDisk(bus: DiskBus): GuestDisk[] {
  const ways = full || bus === 'virtio-blk' ? (['blockdev', 'drive'] as const) : (['blockdev'] as const);
  return [true, false].flatMap((iothread) =>
    ways.flatMap((way) =>
      (['raw', 'qcow2'] as const).map((format) => ({
        id: `${format}-${way}${iothread ? '-io' : ''}`,
        ...{ bytes: diskBytes, bus, iothread, way, format },
      })),
    ),
  );
}

// Emulated processors are slow where others want the real ones.
const patience = { timeout: 180_000 };

describe.each(['virtio-blk', 'virtio-scsi'] as const)(
  'a running VM with every kind of %s disks',
  patience,
  (bus) => {
    const disks = everyDisk(bus);
    let guest: MountedGuest;
    let kept: KeptCopies;

    beforeAll(async () => {
      guest = await MountedGuest.make({ disks });
      kept = new KeptCopies(guest, guest.folder);
      await guest.mount();
    });
    afterAll(() => guest?.remove());
    // A test that failed says why, and holds up no other.
    afterEach(async ({ task }) => {
      if (task.result?.state === 'fail') process.stdout.write(`${guest.log}${guest.machine.errors}`);
      for (const left of await readdir(guest.path()).catch(() => [])) await guest.finish(left);
    });

    /** How the mount calls a disk: by its drive where it has one that is named. */
    const shown = ({ id, way }: GuestDisk): string => (way === 'drive' ? `drive-${id}` : id);
    const names = disks.map(shown);
    const raw = (name: string, disk: GuestDisk): string => guest.path(name, 'disks', `${shown(disk)}.raw`);
    const write = async (mark: string, offset: number, length: number): Promise<void> => {
      for (const { id } of disks) await writeMarked(guest.machine, id, offset, length, mark);
    };
    const hashes = async (): Promise<string[]> => {
      const computed: string[] = [];
      for (const { id } of disks) computed.push(await guestSha256(guest.machine, id));
      return computed;
    };

    it('is shown as it was, disk by disk, and by exact increments from then on', async () => {
      await write('yesterday', mebibyte - 512, 4096);
      const yesterday = await hashes();
      const first = await guest.take('chain@1');
      expect(Object.fromEntries(first.disks.map(({ name, mode }) => [name, mode]))).toEqual(
        Object.fromEntries(names.map((name) => [name, 'new'])),
      );
      const writing = write('meanwhile', 0, 2 * mebibyte);
      await kept.whole('chain@1', ...names);
      expect(await Promise.all(names.map((name) => kept.sha256(name)))).toEqual(yesterday);
      await writing;
      expect(await Promise.all(disks.map((disk) => sha256(raw('chain@1', disk))))).toEqual(yesterday);
      await guest.finish('chain@1', 'success');

      const later = { offset: 5 * mebibyte + 1024, length: 65_536 };
      await write('today', later.offset, later.length);
      const today = await hashes();
      const second = await guest.take('chain@2');
      expect(second.disks.map(({ mode, base }) => [mode, base])).toEqual(
        names.map(() => ['reuse', first.id]),
      );
      for (const name of names)
        expect(await guest.dirty('chain@2', name), name).toEqual(
          granulesOf([{ offset: 0, length: 2 * mebibyte }, later], diskBytes),
        );
      await kept.increment('chain@2', ...names);
      expect(await Promise.all(names.map((name) => kept.sha256(name)))).toEqual(today);
      await guest.finish('chain@2', 'failure');
    });

    it(`survives ${discards} discards at random while it writes and is read, and the chain is whole`, async () => {
      const random = numbers(bus.length);
      const before = await hashes();
      await guest.take('chain@3');
      await kept.whole('chain@3', ...names);
      expect(await Promise.all(names.map((name) => kept.sha256(name)))).toEqual(before);
      const maps = await Promise.all(names.map((name) => guest.dirty('chain@3', name)));
      const during = { offset: 3 * mebibyte, length: mebibyte };
      const writing = write('during', during.offset, during.length);
      const looking = (async () => {
        for (const disk of disks)
          await output('qemu-img', 'map', '--output=json', '-f', 'raw', raw('chain@3', disk));
      })();
      // Where a discard fails, that is what is told.
      for (const other of [writing, looking]) other.catch(() => undefined);
      const files = await Promise.all(disks.map((disk) => open(raw('chain@3', disk), 'r+')));
      const given: Array<[disk: number, offset: number, length: number]> = [];
      try {
        for (let count = 0; count < discards; count++) {
          const disk = random() % files.length;
          const aligned = random() % 2 === 0 ? granuleBytes : ([1, 512, 4096][random() % 3] ?? 1);
          const offset = Math.floor((random() % diskBytes) / aligned) * aligned;
          const length = aligned * (1 + (random() % Math.ceil((4 * granuleBytes) / aligned)));
          given.push([disk, offset, Math.min(length, diskBytes - offset)]);
          await allocate(files[disk]?.fd ?? -1, PUNCH_HOLE | KEEP_SIZE, offset, length);
        }
        await Promise.all([writing, looking]);
        const text = await readFile(guest.path('chain@3', 'snapshot.json'), 'utf8');
        expect(JSON.parse(text)).toMatchObject({ broken: null });
        expect(await guest.machine.output('echo alive')).toBe('alive\n');

        // What was given back is gone; all else is as it was.
        for (const [disk, file] of files.entries()) {
          const gone = new Uint8Array(diskBytes / 512);
          for (const [each, offset, length] of given)
            if (each === disk) gone.fill(1, Math.floor(offset / 512), Math.ceil((offset + length) / 512));
          const copy = await open(kept.path(names[disk] ?? ''), 'r');
          try {
            for (let probe = 0; probe < 200; probe++) {
              const sector = random() % gone.length;
              const [seen, expected] = [Buffer.alloc(512), Buffer.alloc(512)];
              const reading = file.read(seen, 0, 512, sector * 512);
              if (gone[sector]) await expect(reading).rejects.toMatchObject({ code: 'EIO' });
              else {
                await reading;
                await copy.read(expected, 0, 512, sector * 512);
                expect(seen.equals(expected)).toBe(true);
              }
            }
          } finally {
            await copy.close();
          }
        }
      } finally {
        for (const file of files) await file.close();
      }
      expect(await Promise.all(names.map((name) => guest.dirty('chain@3', name)))).toEqual(maps);
      await guest.finish('chain@3', 'success');

      const today = await hashes();
      await guest.take('chain@4');
      for (const name of names)
        expect(await guest.dirty('chain@4', name), name).toEqual(granulesOf([during], diskBytes));
      await kept.increment('chain@4', ...names);
      expect(await Promise.all(names.map((name) => kept.sha256(name)))).toEqual(today);
      await guest.finish('chain@4', 'success');
    });

    it('has nothing of ours left in its QEMU, which has never complained', async () => {
      expect(await guest.end()).toBe(0);
      expect(await guest.leftInQemu()).toEqual([]);
      expect(await guest.machine.output('echo alive')).toBe('alive\n');
      expect(guest.machine.errors).toBe('');
    });
  },
);
