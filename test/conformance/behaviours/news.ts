import { lstat, open, readdir, readFile, readlink, stat } from 'node:fs/promises';
import { expect } from 'vitest';
import type { Behaviour } from './behaviour.js';

/** What may be cached for ever, until the tree says otherwise. */
export const news: readonly Behaviour[] = [
  {
    must: 'new bytes and a new size are seen once the tree has told of them',
    async check({ fresh }) {
      const mounted = await fresh('changing');
      const path = mounted.path('file');
      // Nothing is read before: after a read the kernel asks for the attributes anyway, for the time of access.
      expect((await stat(path)).size).toBe('before'.length);
      await mounted.tell('changing', 'write', 'and after');
      await expect.poll(async () => (await stat(path)).size, { timeout: 5000 }).toBe(9);
      expect((await readFile(path)).toString()).toBe('and after');
    },
  },
  {
    must: 'who has a file open sees new bytes once the tree has told of them',
    async check({ fresh }) {
      const mounted = await fresh('changing');
      const file = await open(mounted.path('file'));
      try {
        const read = async (): Promise<string> => {
          const { buffer, bytesRead } = await file.read(Buffer.alloc(64), 0, 64, 0);
          return buffer.toString('utf8', 0, bytesRead);
        };
        expect(await read()).toBe('before');
        await mounted.tell('changing', 'write', 'after!');
        await expect.poll(read, { timeout: 5000 }).toBe('after!');
      } finally {
        await file.close();
      }
    },
  },
  {
    must: 'a name that stands for something else is seen so once the tree has told of it',
    async check({ fresh }) {
      const mounted = await fresh('changing');
      const path = mounted.path('latest');
      expect(await readlink(path)).toBe('monday');
      expect((await readFile(`${path}/name`)).toString()).toBe('monday');
      await mounted.tell('changing', 'point', 'tuesday');
      await expect.poll(() => readlink(path), { timeout: 5000 }).toBe('tuesday');
      expect((await readFile(`${path}/name`)).toString()).toBe('tuesday');
    },
  },
  {
    must: 'a name that was known not to be there is found once the tree has told of it, and lost again',
    async check({ fresh }) {
      const mounted = await fresh('changing');
      const path = mounted.path('wednesday');
      const there = (): Promise<boolean> =>
        lstat(path).then(
          () => true,
          () => false,
        );
      expect(await there()).toBe(false);
      expect(await readdir(mounted.mountpoint)).not.toContain('wednesday');
      await mounted.tell('changing', 'add', 'wednesday');
      await expect.poll(there, { timeout: 5000 }).toBe(true);
      await expect.poll(() => readdir(mounted.mountpoint), { timeout: 5000 }).toContain('wednesday');
      await mounted.tell('changing', 'remove', 'wednesday');
      await expect.poll(there, { timeout: 5000 }).toBe(false);
      await expect.poll(() => readdir(mounted.mountpoint), { timeout: 5000 }).not.toContain('wednesday');
    },
  },
];
