import { lstat, readdir, readFile, readlink, stat } from 'node:fs/promises';
import { expect } from 'vitest';
import { deepName, depth } from '../trees/attributes.js';
import { oddNames, oddTargets } from '../trees/names.js';
import { type Behaviour, run } from './behaviour.js';

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');

/** Names and targets are bytes. */
export const names: readonly Behaviour[] = [
  {
    must: 'a name that is not there is ENOENT, each time',
    async check({ shared }) {
      for (const path of [
        ['nothing'],
        ['names', 'nothing'],
        ['names', 'odd', 'nothing'],
        ['nothing', 'below'],
      ]) {
        for (let time = 0; time < 2; time++) {
          await expect(stat(shared.path(...path))).rejects.toMatchObject({ code: 'ENOENT' });
        }
      }
      await expect(stat(shared.path('bytes', 'keep', 'below'))).rejects.toMatchObject({ code: 'ENOTDIR' });
    },
  },
  {
    must: 'names of any bytes are listed as they are, and lead to their files',
    async check({ shared }) {
      const folder = shared.path('names', 'odd');
      const listed = await readdir(folder, { encoding: 'buffer' });
      expect(listed.map((name) => name.toString('latin1')).sort()).toEqual([...oddNames].sort());
      for (const name of oddNames) {
        const content = await readFile(Buffer.concat([bytes(`${folder}/`), bytes(name)]));
        expect(content.toString('latin1')).toBe(name);
      }
    },
  },
  {
    must: 'a name of 255 bytes is a name; one of 256 is ENAMETOOLONG, unless there is a file of that name',
    async check({ shared }) {
      expect((await stat(shared.path('names', 'odd', 'n'.repeat(255)))).size).toBe(255);
      await expect(stat(shared.path('names', 'odd', 'n'.repeat(256)))).rejects.toMatchObject({
        code: 'ENAMETOOLONG',
      });
    },
  },
  {
    must: 'symlinks lead to any bytes, and nobody follows them but the caller',
    async check({ shared }) {
      for (const [index, target] of oddTargets.entries()) {
        const path = shared.path('names', 'targets', `target-${index}`);
        expect((await readlink(path, { encoding: 'buffer' })).toString('latin1')).toBe(target);
        expect((await lstat(path)).size).toBe(target.length);
      }
    },
  },
  {
    must: 'a tree may be deeper than a path can be long',
    async check({ shared }) {
      const printed = await run(
        'find',
        shared.path('attributes', deepName),
        '-name',
        'leaf',
        '-printf',
        '%d %s',
      );
      expect(printed.toString()).toBe(`${depth} ${'deep down'.length}`);
    },
  },
];
