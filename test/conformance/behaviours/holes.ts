import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { seek } from '../../../src/posix/seek.js';
import { sparse } from '../trees/bytes.js';
import { type Behaviour, run } from './behaviour.js';

export const sparseFiles = ['sparse-keep', 'sparse-direct'];

/** The data of a file as lseek(2) tells it: begins and ends. */
export async function dataOf(path: string): Promise<Array<readonly [number, number]>> {
  const file = await open(path);
  try {
    const found: Array<readonly [number, number]> = [];
    for (let at = 0; ; ) {
      try {
        at = await seek(file.fd, at, 'data');
      } catch (error) {
        if (error instanceof Error && 'code' in error && error.code === 'ENXIO') return found;
        throw error;
      }
      const end = await seek(file.fd, at, 'hole');
      found.push([at, end]);
      at = end;
    }
  } finally {
    await file.close();
  }
}

const allocated = sparse.data.reduce((sum, [begin, end]) => sum + end - begin, 0);

/** Sparse files stay sparse. */
export const holes: readonly Behaviour[] = [
  {
    must: 'SEEK_DATA and SEEK_HOLE tell where data lies, to the byte',
    async check({ shared }) {
      for (const name of sparseFiles) {
        expect(await dataOf(shared.path('bytes', name)), name).toEqual(sparse.data);
      }
      const file = await open(shared.path('bytes', 'sparse-keep'));
      try {
        const inData = sparse.data[1][0] + 100;
        expect(await seek(file.fd, inData, 'data')).toBe(inData);
        expect(await seek(file.fd, 5, 'hole')).toBe(5);
        await expect(seek(file.fd, sparse.size, 'hole')).rejects.toMatchObject({ code: 'ENXIO' });
      } finally {
        await file.close();
      }
      expect(await dataOf(shared.path('bytes', 'all-hole'))).toEqual([]);
    },
  },
  {
    must: 'a file without holes is data from its start to its end',
    async check({ shared }) {
      const path = shared.path('bytes', 'keep');
      expect(await dataOf(path)).toEqual([[0, (await stat(path)).size]]);
      expect(await dataOf(shared.path('bytes', 'empty'))).toEqual([]);
    },
  },
  {
    must: 'a copy by cp --sparse=auto has the same bytes and the same holes',
    async check({ shared, folder }) {
      const copies = await folder();
      for (const name of sparseFiles) {
        const copy = join(copies, name);
        await run('cp', '--sparse=auto', shared.path('bytes', name), copy);
        await run('cmp', shared.path('bytes', name), copy);
        expect((await stat(copy)).blocks * 512, name).toBeLessThanOrEqual(2 * allocated);
      }
    },
  },
  {
    must: 'tar --sparse stores the data alone',
    async check({ shared }) {
      const archive = await run('tar', '--sparse', '-C', shared.path('bytes'), '-cf', '-', 'sparse-keep');
      expect(archive.length).toBeLessThan(allocated + 20_480);
    },
  },
];
