import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CountingWriter, countIn, countLength } from '../machine/counting-writer.js';
import { devicePath } from '../machine/machine.js';
import { MountedGuest } from './mounted-guest.js';
import { output } from './served-mount.js';

const mebibyte = 2 ** 20;
const snapshots = process.env.STILLFS_FULL ? 60 : 12;
/** A second for each of them is not enough on a machine that has more to do: milliseconds. */
const patience = { timeout: 10_000 + snapshots * 5000 };

describe('the disks of a running VM that writes without a rest', () => {
  let guest: MountedGuest;

  beforeAll(async () => {
    guest = await MountedGuest.make({
      disks: [
        { id: 'a', bytes: 16 * mebibyte, iothread: true },
        { id: 'b', bytes: 16 * mebibyte, format: 'qcow2' },
        { id: 'c', bytes: 16 * mebibyte, filesystem: 'ext4', bus: 'virtio-scsi' },
      ],
    });
    await guest.mount();
  });
  afterAll(() => guest.remove());

  const count = async (name: string, disk: string): Promise<number> => {
    const bytes = await readFile(guest.path(name, 'disks', `${disk}.raw`));
    return countIn(bytes.subarray(0, countLength));
  };

  it('show one and the same instant in every snapshot', patience, async () => {
    const writer = await CountingWriter.start(guest.machine, [devicePath('a'), devicePath('b')]);
    const seen: number[] = [];
    for (let round = 1; round <= snapshots; round++) {
      const name = round % 2 === 0 ? `instant@${round}` : `instant-${round}`;
      await guest.take(name);
      const [first, second] = [await count(name, 'a'), await count(name, 'b')];
      await writer.reach(first + 3);
      expect([await count(name, 'a'), await count(name, 'b')]).toEqual([first, second]);
      expect([first, first - 1], `${first} on the first disk`).toContain(second);
      seen.push(first);
      await guest.finish(name, 'success');
    }
    expect(seen).toEqual([...seen].sort((one, other) => one - other));
    expect(await writer.stop()).toBeGreaterThan(seen.at(-1) ?? Number.POSITIVE_INFINITY);
  });

  it('are frozen by the guest’s agent meanwhile, so that a file system in them was left in order', async () => {
    const { machine } = guest;
    await machine.output(`mkdir -p /run/mnt/c && mount ${devicePath('c')} /run/mnt/c`);
    const writing = machine.run(
      'until [ -e /run/enough ]; do count=$((count + 1)); echo $count >/run/mnt/c/$((count % 50)); done',
    );
    try {
      const facts = await guest.take('frozen');
      expect(facts.frozenFileSystems).toBe(1);
      const state = await output('dumpe2fs', '-h', guest.path('frozen', 'disks', 'c.raw'));
      expect(state).toMatch(/^Filesystem state: +clean$/m);
      expect(state).not.toContain('needs_recovery');
      await output('e2fsck', '-f', '-n', guest.path('frozen', 'disks', 'c.raw'));
      await guest.finish('frozen');
    } finally {
      await machine.output('touch /run/enough');
      await writing;
      await machine.output('umount /run/mnt/c');
    }
  });

  it('are all let go, and QEMU has never complained', async () => {
    expect(await guest.end()).toBe(0);
    expect(await guest.leftInQemu()).toEqual([]);
    expect(guest.machine.errors).toBe('');
  });
});
