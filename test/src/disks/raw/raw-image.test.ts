import { mkdir, mkdtemp, open, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openRawImage } from '../../../../src/disks/raw/raw-image.js';
import { StoreFolder } from '../../../../src/disks/store-folder.js';
import { nameFromText } from '../../../../src/name.js';
import { qemuImg } from '../../../corpus/qcow2-images.js';

const M = 1 << 20;
let folder: string;
let store: StoreFolder;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillfs-raw-'));
  store = await StoreFolder.open(folder);
});
afterEach(async () => {
  store.close();
  await rm(folder, { recursive: true });
});

/** Data at 1 MiB and at 3 MiB, 5 MiB and 100 bytes in all. */
async function sparseFile(): Promise<void> {
  const file = await open(join(folder, 'disk.raw'), 'w');
  await file.write(Buffer.alloc(M, 1), 0, M, M);
  await file.write(Buffer.alloc(65536, 2), 0, 65536, 3 * M);
  await file.truncate(5 * M + 100);
  await file.close();
}

test('a sparse file is a disk of its size, whose holes are zeros and which is dirty throughout', async () => {
  await sparseFile();
  const disk = await openRawImage(store, nameFromText('disk.raw'));
  expect(disk.size).toBe(5 * M + 100);
  expect(await disk.extents(0, disk.size)).toEqual([
    { offset: 0, length: M, zero: true, dirty: true },
    { offset: M, length: M, zero: false, dirty: true },
    { offset: 2 * M, length: M, zero: true, dirty: true },
    { offset: 3 * M, length: 65536, zero: false, dirty: true },
    { offset: 3 * M + 65536, length: 2 * M - 65536 + 100, zero: true, dirty: true },
  ]);
  expect(await disk.extents(M + 5, 10)).toEqual([{ offset: M + 5, length: 10, zero: false, dirty: true }]);
  expect(await disk.extents(disk.size, 0)).toEqual([]);
  await disk.close();
});

test('reads give the bytes, and the descriptor for the kernel is the file itself', async () => {
  await sparseFile();
  const disk = await openRawImage(store, nameFromText('disk.raw'));
  const bytes = Buffer.alloc(4);
  await disk.read(M - 2, bytes);
  expect([...bytes]).toEqual([0, 0, 1, 1]);
  await disk.read(disk.size - 4, bytes);
  expect([...bytes]).toEqual([0, 0, 0, 0]);
  const direct = await open(`/proc/self/fd/${disk.passthrough}`);
  await direct.read(bytes, 0, 4, 3 * M - 2);
  expect([...bytes]).toEqual([0, 0, 2, 2]);
  await direct.close();
  await disk.close();
});

test('a range that leaves the disk is EINVAL', async () => {
  await sparseFile();
  const disk = await openRawImage(store, nameFromText('disk.raw'));
  for (const [offset, length] of [
    [5 * M, 101],
    [-1, 1],
    [2 ** 53, 1],
    [0.5, 1],
  ] as const) {
    await expect(disk.read(offset, Buffer.alloc(length))).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(disk.extents(offset, length)).rejects.toMatchObject({ code: 'EINVAL' });
  }
  await disk.close();
});

test('a qcow2 header inside a raw disk is data', async () => {
  await writeFile(join(folder, 'secret'), 'secret');
  await qemuImg(folder, 'create', '-q', '-f', 'qcow2', '-u', '-b', 'secret', '-F', 'raw', 'disk.raw', '1M');
  const disk = await openRawImage(store, nameFromText('disk.raw'));
  const bytes = Buffer.alloc(4);
  await disk.read(0, bytes);
  expect(bytes.toString('latin1')).toBe('QFI\xfb');
  await disk.close();
});

test('a file that is cut short while open fails, and is not zeros', async () => {
  await sparseFile();
  const disk = await openRawImage(store, nameFromText('disk.raw'));
  await truncate(join(folder, 'disk.raw'), 2 * M);
  await expect(disk.read(2 * M - 10, Buffer.alloc(20))).rejects.toMatchObject({ code: 'EIO' });
  await expect(disk.extents(2 * M, 100)).rejects.toMatchObject({ code: 'EIO' });
  await disk.close();
});

test('nothing but a regular file in the store is opened', async () => {
  await writeFile(join(folder, 'disk.raw'), 'x');
  await mkdir(join(folder, 'inner'));
  await symlink('../disk.raw', join(folder, 'inner/link'));
  const inner = await StoreFolder.open(join(folder, 'inner'));
  await expect(openRawImage(inner, nameFromText('link'))).rejects.toMatchObject({ code: 'EINVAL' });
  await expect(openRawImage(inner, nameFromText('../disk.raw'))).rejects.toMatchObject({ code: 'EXDEV' });
  await expect(openRawImage(store, nameFromText('inner'))).rejects.toMatchObject({ code: 'EINVAL' });
  await expect(openRawImage(store, nameFromText('none'))).rejects.toMatchObject({ code: 'ENOENT' });
  inner.close();
});

test('an aborted wait ends with its reason, and a closed disk reads nothing', async () => {
  await sparseFile();
  const disk = await openRawImage(store, nameFromText('disk.raw'));
  const reason = new Error('the caller has left');
  await expect(disk.read(0, Buffer.alloc(1), AbortSignal.abort(reason))).rejects.toBe(reason);
  await expect(openRawImage(store, nameFromText('disk.raw'), AbortSignal.abort(reason))).rejects.toBe(reason);
  await disk.close();
  await expect(disk.read(0, Buffer.alloc(1))).rejects.toMatchObject({ code: 'EBADF' });
});

test('an empty file is an empty disk', async () => {
  await writeFile(join(folder, 'disk.raw'), '');
  const disk = await openRawImage(store, nameFromText('disk.raw'));
  expect(disk.size).toBe(0);
  await disk.read(0, Buffer.alloc(0));
  expect(await disk.extents(0, 0)).toEqual([]);
  await disk.close();
});

test('a file with more holes than one answer holds is told in several', async () => {
  const file = await open(join(folder, 'disk.raw'), 'w');
  for (let i = 0; i < 600; i++) await file.write('x', i * 65536);
  await file.close();
  const disk = await openRawImage(store, nameFromText('disk.raw'));
  const first = await disk.extents(0, disk.size);
  let end = first.reduce((sum, extent) => sum + extent.length, 0);
  expect(end).toBeGreaterThan(0);
  expect(end).toBeLessThan(disk.size);
  let count = first.length;
  while (end < disk.size) {
    const more = await disk.extents(end, disk.size - end);
    count += more.length;
    end += more.reduce((sum, extent) => sum + extent.length, 0);
  }
  expect(count).toBe(2 * 600 - 1);
  await disk.close();
});
