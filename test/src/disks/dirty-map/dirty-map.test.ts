import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MapReader } from '../../../../src/disks/dirty-map/map-reader.js';
import { type SurveyBounds, survey } from '../../../../src/disks/dirty-map/survey.js';
import type { Disk } from '../../../../src/disks/disk.js';
import type { Extent } from '../../../../src/extents.js';

const cluster = 65_536;

/** A disk of whole clusters of which some are dirty; its map is never held. */
function diskOf(clusters: number, isDirty: (cluster: number) => boolean, tail = 0): Disk & { asked: number } {
  const size = clusters * cluster + tail;
  return {
    size,
    asked: 0,
    read: () => Promise.reject(new Error('a map reads no data')),
    async extents(offset, length) {
      const extents: Extent[] = [];
      const end = offset + length;
      for (let at = offset; at < end && extents.length < 20_000; ) {
        const next = Math.min((Math.floor(at / cluster) + 1) * cluster, end);
        const dirty = isDirty(Math.floor(at / cluster));
        extents.push({ offset: at, length: next - at, zero: false, dirty });
        at = next;
      }
      this.asked += extents.length;
      return extents;
    },
    close: async () => undefined,
  };
}

interface Row {
  offset: number;
  length: number;
  type: number;
  description: string;
}

async function textOf(
  disk: Disk,
  format: 'json' | 'mapfile',
  piece = 100_003,
  bounds?: SurveyBounds,
): Promise<string> {
  const found = await survey(disk, undefined, bounds);
  const blocks = new Map<number, Buffer>();
  const reader = new MapReader(disk, found, found[format], {
    get: (block) => blocks.get(block),
    set: (block, text) => blocks.set(block, text),
  });
  const whole = Buffer.alloc(reader.size);
  for (let offset = 0; offset < reader.size; offset += piece) {
    const target = whole.subarray(offset, offset + piece);
    expect(await reader.read(offset, target)).toBe(target.length);
  }
  expect(await reader.read(reader.size, Buffer.alloc(10))).toBe(0);
  return whole.toString('latin1');
}

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillfs-map-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('a dirty map as JSON', () => {
  it('is byte for byte what nbdinfo prints of the same bitmap', async () => {
    const image = join(folder, 'disk.qcow2');
    const socket = join(folder, 'nbd.sock');
    await execa('qemu-img', ['create', '-q', '-f', 'qcow2', image, '64M']);
    await execa('qemu-img', ['bitmap', '--add', image, 'x']);
    await execa('qemu-io', ['-c', 'write 0 64k', '-c', 'write 192k 128k', '-c', 'write 63M 1M', image]);
    const server = execa('qemu-nbd', ['-f', 'qcow2', '-B', 'x', '-k', socket, '-r', image]); // ends with its client
    const uri = `nbd+unix:///?socket=${socket}`;
    let printed = '';
    while (printed === '') {
      const asked = await execa('nbdinfo', ['--map=qemu:dirty-bitmap:x', '--json', uri], { reject: false });
      if (asked.exitCode === 0) printed = asked.stdout;
      else if (server.exitCode !== null && server.exitCode !== undefined) await server;
    }
    await server;

    const dirty = new Set([0, 3, 4, ...Array.from({ length: 16 }, (_, index) => 1008 + index)]);
    const disk = diskOf(1024, (index) => dirty.has(index));
    expect(await textOf(disk, 'json')).toBe(`${printed}\n`);
  });

  it('covers a disk whose size is no multiple of a cluster, and one of no size', async () => {
    const rows: Row[] = JSON.parse(
      await textOf(
        diskOf(2, () => true, 1000),
        'json',
      ),
    );
    expect(rows).toEqual([{ offset: 0, length: 2 * cluster + 1000, type: 1, description: 'dirty' }]);
    expect(
      JSON.parse(
        await textOf(
          diskOf(0, () => true),
          'json',
        ),
      ),
    ).toEqual([]);
  });

  it('is right for many ranges, read in pieces from anywhere, and made block by block', async () => {
    const disk = diskOf(10_000, (index) => index % 2 === 1);
    const text = await textOf(disk, 'json', 777);
    const rows: Row[] = JSON.parse(text);
    expect(rows).toHaveLength(10_000);
    expect(rows[4321]).toEqual({ offset: 4321 * cluster, length: cluster, type: 1, description: 'dirty' });

    const found = await survey(disk);
    disk.asked = 0;
    const reader = new MapReader(disk, found, found.json, { get: () => undefined, set: () => undefined });
    const target = Buffer.alloc(100);
    await reader.read(400_000, target);
    expect(target.toString('latin1')).toBe(text.slice(400_000, 400_100));
    expect(disk.asked).toBeLessThan(3000);
  });
});

describe('a dirty map as a mapfile', () => {
  it('is taken by ddrescuelog, which lists the dirty blocks', async () => {
    const disk = diskOf(3000, (index) => index % 3 === 1);
    const file = join(folder, 'map');
    await writeFile(file, await textOf(disk, 'mapfile'));
    const { stdout } = await execa('ddrescuelog', ['-l', '+', '-b', String(cluster), file]);
    expect(stdout.split('\n').map(Number)).toEqual(Array.from({ length: 1000 }, (_, index) => index * 3 + 1));
    const status = await execa('ddrescuelog', ['-t', file]);
    expect(status.stdout).toMatch(/rescued:.* in +1000 area/);
  });

  it('covers the whole disk, beyond 4 GiB too', async () => {
    const disk = diskOf(100_000, (index) => index === 70_000, 512);
    const file = join(folder, 'map');
    await writeFile(file, await textOf(disk, 'mapfile'));
    const dirty = await execa('ddrescuelog', ['-l', '+', '-b', '65536', file]);
    expect(dirty.stdout).toBe('70000');
    const text = await textOf(disk, 'mapfile');
    const rows = [...text.matchAll(/^(0x\w+) {2}(0x\w+) {2}([+?])$/gm)];
    const ends = rows.map((row) => Number(row[1]) + Number(row[2]));
    expect(rows.map((row) => Number(row[1]))).toEqual([0, ...ends.slice(0, -1)]);
    expect(ends.at(-1)).toBe(disk.size);
  });
});

describe('a survey', () => {
  it('holds no more blocks than its bound, and the text is the same', async () => {
    const disk = diskOf(5000, (index) => index % 2 === 0);
    const bounds = { rowsPerBlock: 4, mostBlocks: 16 };
    const coarse = await survey(disk, undefined, bounds);
    expect(coarse.blocks.length).toBeGreaterThan(8);
    expect(coarse.blocks.length).toBeLessThanOrEqual(16);
    expect(coarse.dirty).toBe(2500 * cluster);
    expect(await textOf(disk, 'mapfile', 10_007, bounds)).toBe(await textOf(disk, 'mapfile'));
    expect(await textOf(disk, 'json', 10_007, bounds)).toBe(await textOf(disk, 'json'));
  });

  it('ends when nobody waits for it any more', async () => {
    const abort = new AbortController();
    const disk = diskOf(2 ** 40, () => true);
    const walking = survey(disk, abort.signal);
    setImmediate(() => abort.abort());
    await expect(walking).rejects.toMatchObject({ name: 'AbortError' });
  });
});
