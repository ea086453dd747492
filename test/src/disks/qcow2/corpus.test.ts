import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Disk } from '../../../../src/disks/disk.js';
import { openQcow2Image } from '../../../../src/disks/qcow2/qcow2-image.js';
import { StoreFolder } from '../../../../src/disks/store-folder.js';
import type { Extent } from '../../../../src/extents.js';
import { nameFromText } from '../../../../src/name.js';
import { numbers, qcow2Recipes, qemuImg } from '../../../corpus/qcow2-images.js';

/** A row of `qemu-img map --output=json`. */
interface MapRow {
  readonly start: number;
  readonly length: number;
  readonly depth: number;
  readonly present: boolean;
  readonly zero: boolean;
}

for (const recipe of qcow2Recipes) {
  describe(`an image ${recipe.name}`, () => {
    let folder: string;
    let store: StoreFolder;
    let path: string;
    let disk: Disk;
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'stillfs-qcow2-'));
      store = await StoreFolder.open(folder);
      path = await recipe.make(folder);
      disk = await openQcow2Image(store, nameFromText(path));
    });
    afterAll(async () => {
      await disk.close();
      store.close();
      await rm(folder, { recursive: true });
    });

    test('has the size that it was made with', () => {
      expect(disk.size).toBe(recipe.size);
    });

    test('reads as QEMU reads it, whole and in pieces', async () => {
      if (recipe.thin) return expectThinDisk(disk);
      await qemuImg(folder, 'convert', '-q', '-f', 'qcow2', '-O', 'raw', path, 'expected.raw');
      const expected = await readFile(join(folder, 'expected.raw'));
      expect((await readRange(disk, 0, disk.size)).equals(expected)).toBe(true);
      const random = numbers(1);
      for (let i = 0; i < 200; i++) {
        const length = 1 + (random() % (i % 2 === 0 ? 5000 : 400_000));
        const offset = random() % (disk.size - length);
        const read = await readRange(disk, offset, length);
        if (!read.equals(expected.subarray(offset, offset + length)))
          throw new Error(`${length} bytes at ${offset} differ`);
      }
    });

    test('has the zeros that QEMU maps, and what its own layer holds is dirty', async () => {
      const rows: MapRow[] = JSON.parse(await qemuImg(folder, 'map', '-f', 'qcow2', '--output=json', path));
      const dirtyFrom = recipe.parentSize ?? 0;
      for (const { extent, row } of overlaps(await allExtents(disk), rows)) {
        if (!recipe.preallocated || extent.zero) expect({ ...extent, zero: row.zero }).toEqual(extent);
        const own = (row.present && row.depth === 0) || extent.offset >= dirtyFrom;
        expect({ ...extent, dirty: own }).toEqual(extent);
      }
    });
  });
}

/** What the thin disk's recipe wrote, and the bytes beside it. */
async function expectThinDisk(disk: Disk): Promise<void> {
  const bytes: ReadonlyArray<readonly [number, number]> = [
    [0, 1],
    [65535, 1],
    [65536, 0],
    [2 ** 39, 0],
    [2 ** 40 + 4095, 0],
    [2 ** 40 + 4096, 2],
    [2 ** 40 + 74095, 2],
    [2 ** 40 + 74096, 0],
    [2 ** 41 - 513, 0],
    [2 ** 41 - 1, 3],
  ];
  for (const [offset, byte] of bytes) expect((await readRange(disk, offset, 1))[0]).toBe(byte);
}

async function readRange(disk: Disk, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length, 0xee);
  await disk.read(offset, bytes);
  return bytes;
}

async function allExtents(disk: Disk): Promise<Extent[]> {
  const all: Extent[] = [];
  for (let at = 0; at < disk.size; ) {
    const some = await disk.extents(at, disk.size - at);
    for (const extent of some) {
      expect(extent.offset).toBe(at);
      expect(extent.length).toBeGreaterThan(0);
      at += extent.length;
    }
    all.push(...some);
  }
  expect(all.reduce((sum, extent) => sum + extent.length, 0)).toBe(disk.size);
  return all;
}

/** Each part in which one extent and one row lie, as the extent. */
function* overlaps(
  extents: readonly Extent[],
  rows: readonly MapRow[],
): Generator<{ extent: Extent; row: MapRow }> {
  let i = 0;
  for (const row of rows) {
    const rowEnd = row.start + row.length;
    for (; i < extents.length; i++) {
      const extent = extents[i];
      if (!extent) break;
      const from = Math.max(extent.offset, row.start);
      const to = Math.min(extent.offset + extent.length, rowEnd);
      if (to > from) yield { extent: { ...extent, offset: from, length: to - from }, row };
      if (extent.offset + extent.length > rowEnd) break;
    }
  }
}
