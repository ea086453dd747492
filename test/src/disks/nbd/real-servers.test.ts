import { createHash } from 'node:crypto';
import { open, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openNbdDisk } from '../../../../src/disks/nbd/nbd-disk.js';
import { joined } from '../../../../src/extents.js';
import { everyExtent, NbdPrograms, nbdMap, run, say } from './nbd-programs.js';

const M = 1 << 20;
let programs: NbdPrograms;
let raw: Buffer;
beforeAll(async () => {
  programs = await NbdPrograms.begin();
  // 40 MiB: more than one request may carry. Data at 1 MiB, at 35 MiB and in the last bytes.
  const file = await open(programs.path('disk.raw'), 'w');
  await file.write(
    Buffer.from(Array.from({ length: 3 * M }, (_, at) => (at * 7 + (at >> 9)) % 251)),
    0,
    3 * M,
    M,
  );
  await file.write(Buffer.alloc(65536, 5), 0, 65536, 35 * M);
  await file.write(Buffer.alloc(512, 6), 0, 512, 40 * M - 512);
  await file.close();
  raw = await readFile(programs.path('disk.raw'));
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', 'disk.raw', 'disk.qcow2'], {
    cwd: programs.folder,
  });
});
afterAll(() => programs.end());

const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

describe('a server of another make shows the same bytes and extents', () => {
  const servers: Record<string, () => Promise<string>> = {
    'qemu-nbd of a raw file': async () => {
      const socket = programs.path('qemu-nbd');
      const options = ['-t', '-e', '8', '-f', 'raw', '-x', 'disk', '-r', '-k', socket, 'disk.raw'];
      await programs.serve(socket, 'qemu-nbd', ...options);
      return socket;
    },
    'qemu-storage-daemon of a raw file': () =>
      programs.daemon(['driver=file,node-name=disk,filename=disk.raw,read-only=on']),
    'qemu-storage-daemon of a qcow2 file': () =>
      programs.daemon([
        'driver=file,node-name=file,filename=disk.qcow2,read-only=on',
        'driver=qcow2,node-name=disk,file=file,read-only=on',
      ]),
    nbdkit: () => programs.nbdkit('-r', 'file', programs.path('disk.raw')),
    'nbdkit that takes blocks of 4096 to 64 KiB only': () =>
      programs.nbdkit(
        ...[
          '-r',
          '--filter=blocksize-policy',
          'file',
          programs.path('disk.raw'),
          'blocksize-error-policy=error',
        ],
        ...['blocksize-minimum=4096', 'blocksize-preferred=4096', 'blocksize-maximum=65536'],
      ),
    'nbdkit that answers late and out of turn': () =>
      programs.nbdkit('-r', '--filter=delay', 'file', programs.path('disk.raw'), 'rdelay=3ms'),
  };
  for (const [name, start] of Object.entries(servers)) {
    test(name, async () => {
      const socket = await start();
      const disk = await openNbdDisk({ address: { path: socket }, exportName: 'disk' });
      expect(disk.size).toBe(raw.length);
      const bytes = Buffer.alloc(disk.size, 0xee);
      await disk.read(0, bytes);
      expect(sha(bytes)).toBe(sha(raw));
      for (const [offset, length] of [
        [M - 1, 3],
        [4095, 4098],
        [35 * M + 7, 70_000],
        [40 * M - 1, 1],
      ] as const) {
        const part = Buffer.alloc(length, 0xee);
        await disk.read(offset, part);
        expect(part.equals(raw.subarray(offset, offset + length))).toBe(true);
      }
      const rows = await nbdMap(socket, 'disk', 'base:allocation');
      const merged = joined(
        rows.map(({ offset, length, type }) => ({ offset, length, zero: (type & 2) !== 0, dirty: true })),
      );
      expect(await everyExtent(disk)).toEqual(merged);
      expect(merged.length).toBeGreaterThan(4);
      const [part] = await disk.extents(M + 1000, 100);
      expect(part).toEqual({ offset: M + 1000, length: 100, zero: false, dirty: true });
      await disk.close();
    });
  }
});

describe('dirty bitmaps', () => {
  test('of qemu-storage-daemon are the extents that nbdinfo shows, beside what is zero', async () => {
    const qmp = programs.path('qmp');
    await writeFile(programs.path('dirty.raw'), '');
    await truncate(programs.path('dirty.raw'), 16 * M);
    const socket = await programs.daemon(['driver=file,node-name=disk,filename=dirty.raw'], 'later', qmp);
    await say(
      qmp,
      { execute: 'block-dirty-bitmap-add', arguments: { node: 'disk', name: 'chk', granularity: 65536 } },
      {
        execute: 'block-export-add',
        arguments: { type: 'nbd', id: 'w', 'node-name': 'disk', name: 'w', writable: true },
      },
    );
    const writes = ['write -P 7 1M 100k', 'write -z 5M 2M', 'write -P 9 15M 1M', 'flush'];
    await run('qemu-io', [
      '-f',
      'raw',
      ...writes.flatMap((write) => ['-c', write]),
      `nbd+unix:///w?socket=${socket}`,
    ]);
    await say(
      qmp,
      { execute: 'block-export-del', arguments: { id: 'w' } },
      { execute: 'block-dirty-bitmap-disable', arguments: { node: 'disk', name: 'chk' } },
      {
        execute: 'block-export-add',
        arguments: { type: 'nbd', id: 'e', 'node-name': 'disk', name: 'disk', bitmaps: ['chk'] },
      },
    );
    const rows = await nbdMap(socket, 'disk', 'qemu:dirty-bitmap:chk');
    const dirty = rows.filter(({ type }) => type === 1).map(({ offset, length }) => ({ offset, length }));
    expect(dirty).toEqual([
      { offset: M, length: 131072 },
      { offset: 5 * M, length: 2 * M },
      { offset: 15 * M, length: M },
    ]);
    const address = { path: socket };
    const both = await openNbdDisk({ address, exportName: 'disk', dirtyBitmap: 'chk' });
    expect(await everyExtent(both)).toEqual([
      { offset: 0, length: M, zero: true, dirty: false },
      // The 100 KiB lie in two granules, and in whole pages of the file.
      { offset: M, length: 102400, zero: false, dirty: true },
      { offset: M + 102400, length: 131072 - 102400, zero: true, dirty: true },
      { offset: M + 131072, length: 4 * M - 131072, zero: true, dirty: false },
      { offset: 5 * M, length: 2 * M, zero: true, dirty: true },
      { offset: 7 * M, length: 8 * M, zero: true, dirty: false },
      { offset: 15 * M, length: M, zero: false, dirty: true },
    ]);
    await both.close();
    const alone = await openNbdDisk({ address, exportName: 'disk', dirtyBitmap: 'chk', allocation: false });
    const told = (await everyExtent(alone)).filter((extent) => extent.dirty);
    expect(told.map(({ offset, length }) => ({ offset, length }))).toEqual(dirty);
    expect((await everyExtent(alone)).every((extent) => !extent.zero)).toBe(true);
    await alone.close();
    await expect(openNbdDisk({ address, exportName: 'disk', dirtyBitmap: 'other' })).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(/does not show qemu:dirty-bitmap:other/),
    });
    await expect(openNbdDisk({ address, exportName: 'none' })).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('of qemu-img are shown by qemu-nbd', async () => {
    const image = programs.path('bitmap.qcow2');
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', image, '8M']);
    await run('qemu-img', ['bitmap', '--add', '-g', '64k', image, 'b1']);
    await run('qemu-io', ['-f', 'qcow2', '-c', 'write -P 1 0 1', '-c', 'write -P 2 3M 64k', image]);
    const socket = programs.path('bitmap');
    await programs.serve(
      socket,
      'qemu-nbd',
      '-t',
      '-e',
      '8',
      '-r',
      '-f',
      'qcow2',
      '-B',
      'b1',
      '-x',
      'd',
      '-k',
      socket,
      image,
    );
    const disk = await openNbdDisk({
      address: { path: socket },
      exportName: 'd',
      dirtyBitmap: 'b1',
      allocation: false,
    });
    const rows = await nbdMap(socket, 'd', 'qemu:dirty-bitmap:b1');
    const extents = (await everyExtent(disk)).filter((extent) => extent.dirty);
    expect(extents.map(({ offset, length }) => ({ offset, length }))).toEqual([
      { offset: 0, length: 65536 },
      { offset: 3 * M, length: 65536 },
    ]);
    expect(rows.filter(({ type }) => type === 1).map(({ offset }) => offset)).toEqual([0, 3 * M]);
    await disk.close();
  });
});

test('what is discarded is given back by the file behind the export', async () => {
  const path = programs.path('given.raw');
  await writeFile(path, Buffer.alloc(8 * M, 1));
  const socket = await programs.daemon(
    ['driver=file,node-name=disk,filename=given.raw,discard=unmap'],
    ',writable=on',
  );
  const disk = await openNbdDisk({ address: { path: socket }, exportName: 'disk', discardGranule: M });
  const before = (await stat(path)).blocks;
  await disk.discard?.(2 * M, 3 * M);
  expect(before - (await stat(path)).blocks).toBe((3 * M) / 512);
  const { stdout } = await run('qemu-img', ['map', '-U', '-f', 'raw', '--output=json', path]);
  const rows: { start: number; length: number; data: boolean }[] = JSON.parse(stdout);
  expect(rows.map(({ start, length, data }) => [start, length, data])).toEqual([
    [0, 2 * M, true],
    [2 * M, 3 * M, false],
    [5 * M, 3 * M, true],
  ]);
  await expect(disk.discard?.(0, 65536)).rejects.toMatchObject({ code: 'EINVAL' });
  await disk.close();
});

describe('nbdkit', () => {
  test('that can’t read fails the read with its error, and the next one is another', async () => {
    const inject = programs.path('inject');
    await writeFile(inject, '');
    const socket = await programs.nbdkit(
      ...[
        '-r',
        '--filter=error',
        'pattern',
        '16M',
        'error-pread=EIO',
        'error-pread-rate=100%',
        `error-file=${inject}`,
      ],
    );
    const disk = await openNbdDisk({ address: { path: socket }, exportName: '' });
    await expect(disk.read(0, Buffer.alloc(4096))).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(/refused a read of 4096 bytes at 0: its storage failed/),
    });
    await rm(inject);
    const bytes = Buffer.alloc(4096);
    await disk.read(8 * M, bytes);
    // Its pattern: each eight bytes tell their own offset.
    expect(bytes.readBigUInt64BE(0)).toBe(BigInt(8 * M));
    expect(bytes.readBigUInt64BE(4088)).toBe(BigInt(8 * M + 4088));
    await disk.close();
  });

  test('that can’t read for a second and tries again itself is waited for', async () => {
    const inject = programs.path('inject-retry');
    await writeFile(inject, '');
    const socket = await programs.nbdkit(
      ...['-r', '--filter=retry', '--filter=error', 'pattern', '16M', 'retry-delay=1'],
      ...['error-pread=EIO', 'error-pread-rate=100%', `error-file=${inject}`],
    );
    const disk = await openNbdDisk({ address: { path: socket }, exportName: '' });
    const bytes = Buffer.alloc(8);
    const reading = disk.read(M, bytes);
    await wait(200);
    await rm(inject);
    await reading;
    expect(bytes.readBigUInt64BE(0)).toBe(BigInt(M));
    await disk.close();
  });

  test('with a large sparse disk is walked by its extents', async () => {
    const socket = await programs.nbdkit(
      '-r',
      'sparse-random',
      'size=64G',
      'seed=1',
      'percent=0.01',
      'runlength=65536',
    );
    const disk = await openNbdDisk({ address: { path: socket }, exportName: '' });
    const rows = await nbdMap(socket, '', 'base:allocation');
    const extents = await everyExtent(disk);
    expect(extents).toEqual(
      joined(
        rows.map(({ offset, length, type }) => ({ offset, length, zero: (type & 2) !== 0, dirty: true })),
      ),
    );
    expect(extents.length).toBeGreaterThan(20);
    await disk.close();
  });
});
