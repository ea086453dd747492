import { mkdir, open, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mapsTo } from '../conformance/system-calls.js';
import type { CommandResult } from '../machine/guest-shell.js';
import { writeMarked } from '../machine/known-writes.js';
import { devicePath } from '../machine/machine.js';
import { granulesOf, guestSha256, KeptCopies, mapRows, type Range } from './increments.js';
import { MountedGuest } from './mounted-guest.js';
import { output, sha256 } from './served-mount.js';

const mebibyte = 2 ** 20;
const diskBytes = 24 * mebibyte;
const disks = ['a', 'b'] as const;
const today = 'tools@today';

describe('plain tools and a snapshot of a running VM that writes on', () => {
  let guest: MountedGuest;
  let work: string;
  let writing: Promise<CommandResult>;
  let files: string;
  const hashes = new Map<string, string>();
  const written = [
    { offset: mebibyte, length: 100 * 1024 },
    { offset: 9 * mebibyte + 512, length: 512 },
    { offset: 17 * mebibyte, length: mebibyte },
  ];
  // Zeros are written, too: changed, though there is nothing in them.
  const zeroed = { offset: 12 * mebibyte, length: 262_144 };

  beforeAll(async () => {
    guest = await MountedGuest.make({
      agent: false,
      disks: [
        { id: 'a', bytes: diskBytes, filesystem: 'ext4' },
        { id: 'b', bytes: diskBytes, format: 'qcow2', bus: 'virtio-scsi' },
      ],
    });
    work = join(guest.folder, 'work');
    await mkdir(work);
    await guest.mount();
    const { machine } = guest;
    await machine.output(`mkdir -p /run/mnt/a && mount ${devicePath('a')} /run/mnt/a`);
    await machine.output('cd /run/mnt/a && mkdir etc && echo guest >etc/hostname && seq 40000 >numbers');
    await writeMarked(machine, 'b', 0, mebibyte, 'yesterday');
    await writeMarked(machine, 'b', zeroed.offset, zeroed.length, 'yesterday');

    await machine.output('fsfreeze --freeze /run/mnt/a');
    await guest.take('tools@yesterday');
    await machine.output('fsfreeze --unfreeze /run/mnt/a');
    for (const disk of disks)
      await output('cp', guest.path('tools@yesterday', 'disks', `${disk}.raw`), yesterday(disk));
    await guest.finish('tools@yesterday', 'success');

    await machine.output('cd /run/mnt/a && seq 30000 60000 >numbers && echo new >new && ln -s numbers link');
    for (const { offset, length } of written) await writeMarked(machine, 'b', offset, length, 'today');
    const { offset, length } = zeroed;
    await machine.output(
      `dd if=/dev/zero of=${devicePath('b')} bs=${length} count=1 oflag=direct,seek_bytes seek=${offset} conv=notrunc`,
    );
    files = await machine.output("cd /run/mnt/a && find . -type f -exec sha256sum '{}' ';' | sort");
    await machine.output('fsfreeze --freeze /run/mnt/a');
    for (const disk of disks) hashes.set(disk, await guestSha256(machine, disk));
    await guest.take(today);
    await machine.output('fsfreeze --unfreeze /run/mnt/a');
    // Until the last test has ended; slowly, so as to leave the processor to them.
    writing = machine.run(`
      until [ -e /run/enough ]; do
        count=$((count + 1))
        echo $count >>/run/mnt/a/numbers; sync
        yes $count | head -c 65536 |
          dd of=${devicePath('b')} bs=64k iflag=fullblock oflag=direct seek=$((count * 7 % 384)) conv=notrunc status=none
        usleep 20000
      done`);
  });
  afterAll(() => guest.remove());

  const yesterday = (disk: string): string => join(work, `${disk}.yesterday`);
  const raw = (disk: string): string => guest.path(today, 'disks', `${disk}.raw`);
  const changed = (disk: string): string => guest.path(today, 'changes', `${disk}.changed`);
  /** A file of its own for a test, which is removed after it. */
  const withFile = async (name: string, use: (path: string) => Promise<void>): Promise<void> => {
    const path = join(work, name);
    try {
      await use(path);
    } finally {
      await rm(path, { recursive: true, force: true });
    }
  };
  const isToday = async (copy: string, disk: string): Promise<void> => {
    expect((await stat(copy)).size).toBe(diskBytes);
    expect(await sha256(copy)).toBe(hashes.get(disk));
  };

  const copying: Array<[tool: string, copy: (from: string, to: string) => Promise<unknown>]> = [
    ['cp', (from, to) => output('cp', from, to)],
    ['cp --sparse=always', (from, to) => output('cp', '--sparse=always', from, to)],
    ['dd', (from, to) => output('dd', `if=${from}`, `of=${to}`, 'bs=1M', 'status=none')],
    ['dd in odd pieces', (from, to) => output('dd', `if=${from}`, `of=${to}`, 'bs=100001', 'status=none')],
    [
      'dd past the page cache',
      (from, to) => output('dd', `if=${from}`, `of=${to}`, 'bs=1M', 'iflag=direct', 'status=none'),
    ],
    ['qemu-img convert', (from, to) => output('qemu-img', 'convert', '-f', 'raw', '-O', 'raw', from, to)],
    ['rsync -aS', (from, to) => output('rsync', '-aS', from, to)],
    [
      'tar --sparse',
      async (from, to) => {
        const script = 'tar --sparse -C "$1" -cf - "$2" | tar -xOf - >"$3"';
        const path = from.split('/');
        await output('sh', '-c', script, 'sh', path.slice(0, -1).join('/'), path.at(-1) ?? '', to);
      },
    ],
    ['ddrescue', (from, to) => output('ddrescue', '-q', from, to)],
  ];

  describe.each(copying)('%s', (_tool, copy) => {
    it.each(disks)('copies disk %s as the guest saw it', async (disk) => {
      await withFile(`${disk}.copy`, async (to) => {
        await copy(raw(disk), to);
        await isToday(to, disk);
      });
    });
  });

  it('qemu-img makes a qcow2 of it, and finds both alike', async () => {
    await withFile('b.qcow2', async (to) => {
      await output('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', raw('b'), to);
      await output('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', raw('b'), to);
      await withFile('b.back', async (back) => {
        await output('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', to, back);
        await isToday(back, 'b');
      });
    });
  });

  it('rsync copies all disks of the folder once, and has nothing to do the second time', async () => {
    await withFile('there', async (there) => {
      await output('rsync', '-a', '--include=*.raw', '--exclude=*', `${guest.path(today, 'disks')}/`, there);
      expect((await readdir(there)).sort()).toEqual(['a.raw', 'b.raw']);
      for (const disk of disks) await isToday(join(there, `${disk}.raw`), disk);
      const again = await output('rsync', '-ani', `${guest.path(today, 'disks')}/`, there);
      expect(again).not.toContain('.raw');
    });
  });

  it.each(disks)('ddrescue with the map brings yesterday’s copy of disk %s to today', async (disk) => {
    await withFile(`${disk}.rescued`, async (to) => {
      await output('cp', yesterday(disk), to);
      await output('truncate', '-s', String(diskBytes), to);
      const map = guest.path(today, 'disks', `${disk}.dirty.map`);
      await output('ddrescue', '-q', '--force', `--domain-mapfile=${map}`, raw(disk), to);
      await isToday(to, disk);
    });
  });

  it('tar packs the changes alone, and they are applied by their map', async () => {
    await withFile('unpacked', async (unpacked) => {
      await mkdir(unpacked);
      const archive = join(unpacked, 'changes.tar');
      await output('tar', '--sparse', '-C', guest.path(today, 'changes'), '-cf', archive, '.');
      await output('tar', '--sparse', '-C', unpacked, '-xf', archive);
      const dirty = await Promise.all(disks.map((disk) => guest.dirty(today, disk)));
      const bytes = dirty.flat().reduce((sum, { length }) => sum + length, 0);
      expect((await stat(archive)).size).toBeLessThan(bytes + 65_536);
      for (const disk of disks) {
        const to = join(unpacked, `${disk}.applied`);
        await output('cp', yesterday(disk), to);
        for (const { offset, length } of await guest.dirty(today, disk)) {
          const range = [
            `skip=${offset}`,
            `seek=${offset}`,
            `count=${length}`,
            'iflag=skip_bytes,count_bytes',
          ];
          const from = `if=${join(unpacked, `${disk}.changed`)}`;
          await output(
            'dd',
            from,
            `of=${to}`,
            'bs=64K',
            ...range,
            'oflag=seek_bytes',
            'conv=notrunc',
            'status=none',
          );
        }
        await isToday(to, disk);
      }
    });
  });

  it('qemu-img and du see the dirty ranges as the data of the changes, zeros among them', async () => {
    const dirty = granulesOf([...written, zeroed], diskBytes);
    expect(await guest.dirty(today, 'b')).toEqual(dirty);
    const map: Array<{ start: number; length: number; data: boolean }> = JSON.parse(
      await output('qemu-img', 'map', '--output=json', '-f', 'raw', changed('b')),
    );
    const data = map.filter((row) => row.data).map(({ start, length }) => ({ offset: start, length }));
    expect(granulesOf(data, diskBytes)).toEqual(dirty);
    expect((await stat(changed('b'))).blocks * 512).toBe(dirty.reduce((sum, { length }) => sum + length, 0));
    const sparse = await output('du', '-B1', '--apparent-size', changed('b'));
    expect(Number.parseInt(sparse, 10)).toBe(diskBytes);
  });

  it('the kernel mounts the file system over a loop device, with the files that the guest had', async () => {
    const loop = (await output('losetup', '--show', '-f', '-r', raw('a'))).trim();
    try {
      await withFile('mnt', async (at) => {
        await mkdir(at);
        await output('mount', '-t', 'ext4', '-o', 'ro,noload', loop, at);
        try {
          const command = `cd "$1" && find . -type f -exec sha256sum {} ';' | sort`;
          expect(await output('sh', '-c', command, 'sh', at)).toBe(files);
          expect(await output('readlink', join(at, 'link'))).toBe('numbers\n');
        } finally {
          await output('umount', at);
        }
      });
    } finally {
      await output('losetup', '-d', loop);
    }
  });

  it('it is mapped into memory', async () => {
    const file = await open(raw('b'), 'r');
    const expected = Buffer.alloc(2 * mebibyte);
    try {
      await file.read(expected, 0, expected.length, 0);
    } finally {
      await file.close();
    }
    expect(await mapsTo(raw('b'), expected)).toBe(true);
  });

  it('nbdinfo and nbdcopy, asking QEMU itself, get the same map and the same bytes', async () => {
    const record = await snapshotRecord(guest);
    for (const { name, exportId, oldBitmap } of record.disks) {
      const uri = `nbd+unix:///${exportId}?socket=${record.socket}`;
      const context = `qemu:dirty-bitmap:${oldBitmap}`;
      const told: Array<Range & { type: number }> = JSON.parse(
        await output('nbdinfo', `--map=${context}`, '--json', uri),
      );
      const shown = await mapRows(guest, today, name);
      expect(told.map(({ offset, length, type }) => ({ offset, length, type }))).toEqual(
        shown.map(({ offset, length, type }) => ({ offset, length, type })),
      );
      await withFile(`${name}.nbd`, async (to) => {
        await output('nbdcopy', '--connections=1', uri, to);
        await isToday(to, name);
      });
    }
  });

  it('have not held up the guest, whose next increment is whole', async () => {
    const { machine } = guest;
    await machine.output('touch /run/enough');
    expect(await writing).toMatchObject({ status: 0 });
    for (const disk of disks) await isToday(raw(disk), disk);
    const kept = new KeptCopies(guest, work);
    await kept.whole(today, ...disks);
    await guest.finish(today, 'success');
    await machine.output('umount /run/mnt/a');
    const tomorrow = await guest.take('tools@tomorrow');
    expect(tomorrow.disks.map(({ mode }) => mode)).toEqual(['reuse', 'reuse']);
    await kept.increment('tools@tomorrow', ...disks);
    for (const disk of disks) expect(await kept.sha256(disk)).toBe(await guestSha256(machine, disk));
    await guest.finish('tools@tomorrow', 'success');
    expect(await guest.end()).toBe(0);
    expect(await guest.leftInQemu()).toEqual([]);
    expect(machine.errors).toBe('');
  });
});

/** What stillfs has written down of the one snapshot that is open. */
async function snapshotRecord(guest: MountedGuest): Promise<{
  readonly socket: string;
  readonly disks: ReadonlyArray<{ name: string; exportId: string; oldBitmap: string }>;
}> {
  const folder = join(guest.state, 'guests', '100');
  const [name] = (await readdir(folder)).filter((entry) => entry.endsWith('.snapshot.json'));
  return JSON.parse(await readFile(join(folder, name ?? ''), 'utf8'));
}
