import { constants } from 'node:fs';
import { lstat, open, opendir, stat } from 'node:fs/promises';
import { expect } from 'vitest';
import { nameToBytes } from '../../../src/name.js';
import { type DirectoryRow, readDirectory } from '../../../src/posix/getdents.js';
import { changingEntries, hugeEntries, stayingName } from '../trees/huge.js';
import type { Behaviour } from './behaviour.js';

/** The rows of a folder after a cookie, `room` bytes at a time. */
export async function rowsOf(path: string, after = 0n, room?: number): Promise<DirectoryRow[]> {
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const rows: DirectoryRow[] = [];
    for (let at = after; ; ) {
      const some = await readDirectory(folder.fd, at, room);
      const last = some.at(-1);
      if (!last) return rows;
      rows.push(...some);
      at = last.next;
    }
  } finally {
    await folder.close();
  }
}

const pathTo = (folder: string, row: DirectoryRow): Buffer =>
  Buffer.concat([Buffer.from(`${folder}/`), nameToBytes(row.name)]);

/** Node takes inode numbers for signed ones. */
const unsigned = (inode: bigint): bigint => BigInt.asUintN(64, inode);

/** Listings. */
export const folders: readonly Behaviour[] = [
  {
    must: 'a listing tells the inode and the kind of each file, as stat does',
    async check({ shared }) {
      for (const folder of [
        shared.path('attributes'),
        shared.path('twin-b', 'folder'),
        shared.path('bytes'),
      ]) {
        const rows = (await rowsOf(folder)).filter(({ name }) => name !== '..');
        for (const row of rows) {
          const status = await lstat(pathTo(folder, row), { bigint: true });
          expect(row.inode, `${folder}/${row.name}`).toBe(unsigned(status.ino));
          expect(row.type === 'directory').toBe(status.isDirectory());
          expect(row.type === 'symlink').toBe(status.isSymbolicLink());
          expect(row.type === 'block').toBe(status.isBlockDevice());
          expect(row.type === 'socket').toBe(status.isSocket());
        }
      }
    },
  },
  {
    must: '. and .. come first, and are the folder and its parent, also where a tree stands upon another',
    async check({ shared }) {
      for (const [folder, parent] of [
        [shared.path('twin-a', 'folder'), shared.path('twin-a')],
        [shared.path('twin-a'), shared.path()],
      ] as const) {
        const rows = await rowsOf(folder);
        expect(rows.slice(0, 2)).toMatchObject([
          { name: '.', inode: unsigned((await stat(folder, { bigint: true })).ino), type: 'directory' },
          { name: '..', inode: unsigned((await stat(parent, { bigint: true })).ino), type: 'directory' },
        ]);
        expect((await stat(`${folder}/..`)).ino).toBe((await stat(parent)).ino);
      }
    },
  },
  {
    must: 'a listing of 100 000 names gives each of them once, while others come and go',
    async check({ shared }) {
      const seen = new Map<string, number>();
      const folder = await opendir(shared.path('huge', 'folder'), { bufferSize: 500 });
      let count = 0;
      for await (const { name } of folder) {
        seen.set(name, (seen.get(name) ?? 0) + 1);
        if (++count % 30_000 === 0) await shared.tell('huge', 'change');
      }
      const twice = [...seen].filter(([, times]) => times > 1);
      expect(twice).toEqual([]);
      const every = hugeEntries / changingEntries;
      for (let index = 0; index < hugeEntries; index++) {
        if (index % every !== 0 && !seen.has(stayingName(index)))
          expect.fail(`${stayingName(index)} is missing`);
      }
    },
  },
  {
    must: 'a listing goes on from any place in it, also in a folder opened anew',
    async check({ shared }) {
      const folder = shared.path('forgetting', 'folder');
      const all = await rowsOf(folder);
      expect(all).toHaveLength(10_000 + 2);
      for (const place of [0, 1, 2, 500, 4711, 9999, 10_001]) {
        const rest = await rowsOf(folder, all[place]?.next, 4096);
        expect(rest.map(({ name }) => name)).toEqual(all.slice(place + 1).map(({ name }) => name));
      }
    },
  },
  {
    must: 'a small buffer gives a listing in small pieces, without a loss',
    async check({ shared }) {
      const folder = shared.path('names', 'odd');
      const pieces = (await rowsOf(folder, 0n, 1100)).map(({ name }) => name);
      expect(pieces).toEqual((await rowsOf(folder)).map(({ name }) => name));
    },
  },
];
