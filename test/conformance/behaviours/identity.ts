import { stat } from 'node:fs/promises';
import { expect } from 'vitest';
import { type Behaviour, run, shell } from './behaviour.js';

/** Two trees whose inodes have equal numbers are two file systems' worth of files. */
export const identity: readonly Behaviour[] = [
  {
    must: 'no two files of a mount have one inode number, though those of their trees are equal',
    async check({ shared }) {
      const printed = await run(
        'find',
        shared.path('twin-a'),
        shared.path('twin-b'),
        '-links',
        '1',
        '-printf',
        '%i\n',
      );
      const folders = await run(
        'find',
        shared.path('twin-a'),
        shared.path('twin-b'),
        '-type',
        'd',
        '-printf',
        '%i\n',
      );
      const numbers = `${printed}${folders}`.trim().split('\n');
      expect(numbers).toHaveLength(44);
      expect(new Set(numbers).size).toBe(44);
    },
  },
  {
    must: 'tar makes no links between strangers, and keeps those that are',
    async check({ shared, folder }) {
      const copy = await folder();
      await shell('tar -C "$1" -cf - twin-a twin-b | tar -C "$2" -xf -', shared.path(), copy);
      await compare(shared.path(), copy);
    },
  },
  {
    must: 'rsync -aH makes no links between strangers, and keeps those that are',
    async check({ shared, folder }) {
      const copy = await folder();
      await run('rsync', '-aH', shared.path('twin-a'), shared.path('twin-b'), copy);
      await compare(shared.path(), copy);
    },
  },
  {
    must: 'find and du walk all trees of a mount, and see no loop and no file twice',
    async check({ shared }) {
      const names = (
        await run('find', shared.path('twin-a'), shared.path('twin-b'), '-name', 'file-*')
      ).toString();
      expect(names.trim().split('\n')).toHaveLength(40);
      const sizes = (
        await run('du', '--apparent-size', '-B1', '-s', shared.path('twin-a'), shared.path('twin-b'))
      ).toString();
      const [one, other] = sizes
        .trim()
        .split('\n')
        .map((line) => Number.parseInt(line, 10));
      // The text of every file once; 'twin a, hard link' stands under two names.
      const text = Array.from({ length: 20 }, (_, index) => `twin a, file ${index}`.length);
      expect(one).toBe(text.reduce((sum, length) => sum + length, 0) + 'twin a, hard link'.length);
      expect(other).toBe(one);
    },
  },
];

/** Whether a copy of both trees has their bytes, and their links. */
async function compare(mount: string, copy: string): Promise<void> {
  await run('diff', '-r', `${mount}/twin-a`, `${copy}/twin-a`);
  await run('diff', '-r', `${mount}/twin-b`, `${copy}/twin-b`);
  for (const twin of ['twin-a', 'twin-b']) {
    const [one, other, plain] = await Promise.all(
      ['hard-link-1', 'hard-link-2', 'file-3'].map((name) => stat(`${copy}/${twin}/folder/${name}`)),
    );
    expect([one?.nlink, other?.nlink, plain?.nlink]).toEqual([2, 2, 1]);
    expect(one?.ino).toBe(other?.ino);
  }
}
