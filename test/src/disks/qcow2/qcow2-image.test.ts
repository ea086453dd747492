import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openQcow2Image } from '../../../../src/disks/qcow2/qcow2-image.js';
import { StoreFolder } from '../../../../src/disks/store-folder.js';
import { nameFromText } from '../../../../src/name.js';
import { qemuImg, qemuIo } from '../../../corpus/qcow2-images.js';

let folder: string;
let store: StoreFolder;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillfs-qcow2-'));
  store = await StoreFolder.open(folder);
});
afterEach(async () => {
  store.close();
  await rm(folder, { recursive: true });
});

test('a range that leaves the disk is EINVAL; nothing at its end is nothing', async () => {
  await qemuImg(folder, 'create', '-q', '-f', 'qcow2', 'disk', '1M');
  const disk = await openQcow2Image(store, nameFromText('disk'));
  const M = 1 << 20;
  for (const [offset, length] of [
    [M, 1],
    [M - 1, 2],
    [-1, 1],
    [2 ** 60, 1],
  ] as const) {
    await expect(disk.read(offset, Buffer.alloc(length))).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(disk.extents(offset, length)).rejects.toMatchObject({ code: 'EINVAL' });
  }
  await disk.read(M, Buffer.alloc(0));
  expect(await disk.extents(M, 0)).toEqual([]);
  await disk.close();
});

test('a disk of no bytes opens', async () => {
  await qemuImg(folder, 'create', '-q', '-f', 'qcow2', 'disk', '0');
  const disk = await openQcow2Image(store, nameFromText('disk'));
  expect(disk.size).toBe(0);
  await disk.close();
});

test('reads of one disk may run at once, compressed clusters too, and share what they decompress', async () => {
  await qemuImg(folder, 'create', '-q', '-f', 'raw', 'plain', '8M');
  const file = await open(join(folder, 'plain'), 'r+');
  for (let at = 0; at < 8 << 20; at += 4096) await file.write(`page ${at} `.repeat(100), at);
  await file.close();
  await qemuImg(
    folder,
    'convert',
    '-c',
    '-f',
    'raw',
    '-O',
    'qcow2',
    '-o',
    'cluster_size=2M',
    'plain',
    'disk',
  );
  const expected = await readFile(join(folder, 'plain'));
  const disk = await openQcow2Image(store, nameFromText('disk'));
  const abort = new AbortController();
  const left = disk.read(0, Buffer.alloc(4096), abort.signal);
  const reads = Array.from({ length: 256 }, async (_, i) => {
    const bytes = Buffer.alloc(4096);
    const offset = ((i * 37) % 2048) * 4096;
    await disk.read(offset, bytes);
    return bytes.equals(expected.subarray(offset, offset + 4096));
  });
  // One that leaves takes nobody with it.
  abort.abort(new Error('the caller has left'));
  await expect(left).rejects.toThrow('the caller has left');
  expect((await Promise.all(reads)).every(Boolean)).toBe(true);
  await disk.close();
});

test('aborted calls end with the reason, and a closed disk reads nothing', async () => {
  await qemuImg(folder, 'create', '-q', '-f', 'qcow2', 'disk', '1M');
  await qemuIo(folder, 'disk', 'write 0 64k');
  const reason = new Error('the caller has left');
  const signal = AbortSignal.abort(reason);
  await expect(openQcow2Image(store, nameFromText('disk'), signal)).rejects.toBe(reason);
  const disk = await openQcow2Image(store, nameFromText('disk'));
  await expect(disk.read(0, Buffer.alloc(1), signal)).rejects.toBe(reason);
  await expect(disk.extents(0, 1, signal)).rejects.toBe(reason);
  await disk.close();
  await expect(disk.read(0, Buffer.alloc(1))).rejects.toMatchObject({ code: 'EBADF' });
  await disk.close();
});

/** An image of the largest L1 table (32 MiB) with `tables` entries that all lead to one L2 table of zero clusters. */
async function vastImage(tables: number): Promise<void> {
  await qemuImg(folder, 'create', '-q', '-f', 'qcow2', '-o', 'cluster_size=65536', 'disk', '1M');
  await qemuIo(folder, 'disk', 'write -z 0 64k');
  const bytes = await readFile(join(folder, 'disk'));
  const table = bytes.subarray(Number(bytes.readBigUInt64BE(40))).readBigUInt64BE(0);
  const entries = 4 << 20;
  const l1Offset = Math.ceil(bytes.length / 65536) * 65536;
  bytes.writeBigUInt64BE(BigInt(entries) * 2n ** 29n, 24);
  bytes.writeUInt32BE(entries, 36);
  bytes.writeBigUInt64BE(BigInt(l1Offset), 40);
  const l1 = Buffer.alloc(entries * 8);
  for (let i = 0; i < tables; i++) l1.writeBigUInt64BE(table, i * 8);
  const file = await open(join(folder, 'disk'), 'w');
  await file.write(bytes);
  await file.write(l1, 0, l1.length, l1Offset);
  await file.close();
}

test('the extents of 2 PiB of nothing are told at once', async () => {
  await vastImage(0);
  const disk = await openQcow2Image(store, nameFromText('disk'));
  expect(disk.size).toBe(2 ** 51);
  const extents = await disk.extents(0, disk.size);
  expect(extents).toEqual([{ offset: 0, length: disk.size, zero: true, dirty: true }]);
  await disk.close();
});

test('a long look through tables lets others have their turn, ends early, and ends when it is aborted', async () => {
  await vastImage(4 << 20);
  const disk = await openQcow2Image(store, nameFromText('disk'));
  let turns = 0;
  const count = (): void => {
    turns++;
    next = setImmediate(count);
  };
  let next = setImmediate(count);
  const extents = await disk.extents(0, disk.size);
  clearImmediate(next);
  const end = extents.reduce((sum, extent) => sum + extent.length, 0);
  expect(end).toBeGreaterThan(2 ** 32);
  expect(end).toBeLessThan(disk.size);
  expect(turns).toBeGreaterThan(10);

  const abort = new AbortController();
  const reason = new Error('the caller has left');
  setImmediate(() => abort.abort(reason));
  await expect(disk.extents(0, disk.size, abort.signal)).rejects.toBe(reason);
  await disk.close();
});
