import {
  chmod,
  chown,
  link,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  rmdir,
  symlink,
  truncate,
  unlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { expect } from 'vitest';
import { allocate, COLLAPSE_RANGE, KEEP_SIZE, PUNCH_HOLE, setXattr, ZERO_RANGE } from '../system-calls.js';
import { discardableSize } from '../trees/writable.js';
import { type Behaviour, shell, type Trial } from './behaviour.js';

function calls({ shared }: Trial): Promise<unknown> {
  return shared.tell('writable', 'calls');
}

/** What the tree takes reaches it, what it does not take is refused. */
export const changing: readonly Behaviour[] = [
  {
    must: 'in a tree that takes nothing, every change is EROFS',
    async check({ shared }) {
      const file = shared.path('attributes', 'plain');
      const beside = shared.path('attributes', 'beside');
      const folder = shared.path('attributes', 'sticky');
      const attempts: Record<string, () => Promise<unknown>> = {
        'open for writing': () => open(file, 'r+'),
        'open and empty': () => writeFile(file, 'other'),
        create: () => writeFile(beside, 'new'),
        truncate: () => truncate(file, 1),
        mkdir: () => mkdir(beside),
        rmdir: () => rmdir(folder),
        unlink: () => unlink(file),
        rename: () => rename(file, beside),
        'rename over': () => rename(file, shared.path('attributes', 'thin')),
        link: () => link(file, beside),
        symlink: () => symlink('target', beside),
        chmod: () => chmod(file, 0o777),
        chown: () => chown(file, 1, 1),
        utimes: () => utimes(file, 1, 1),
        setxattr: () => setXattr(file, 'user.new', 'value'),
      };
      for (const [name, attempt] of Object.entries(attempts)) {
        await expect(attempt(), name).rejects.toMatchObject({ code: 'EROFS' });
      }
    },
  },
  {
    must: 'a read-only mount takes nothing, though its tree would',
    async check({ fresh }) {
      const mounted = await fresh('writable', { readOnly: true });
      await expect(mkdir(mounted.path('snapshots', 'monday'))).rejects.toMatchObject({ code: 'EROFS' });
      await expect(rmdir(mounted.path('folder'))).rejects.toMatchObject({ code: 'EROFS' });
      for (const name of ['outcome', 'disk.raw']) {
        await expect(open(mounted.path(name), 'r+')).rejects.toMatchObject({ code: 'EROFS' });
        await expect(truncate(mounted.path(name), 0)).rejects.toMatchObject({ code: 'EROFS' });
      }
      expect((await readFile(mounted.path('outcome'))).toString()).toBe('pending');
      expect(await mounted.tell('writable', 'calls')).toEqual([]);
    },
  },
  {
    must: 'echo success > file empties the file and writes to it',
    async check(trial) {
      await calls(trial);
      await shell('echo success > "$1"', trial.shared.path('writable', 'outcome'));
      expect(await calls(trial)).toEqual([{ truncate: 0 }, { write: 'success\n', offset: 0 }]);
    },
  },
  {
    must: 'what is written arrives at its offset before write returns, and fsync reaches the tree',
    async check(trial) {
      const file = await open(trial.shared.path('writable', 'outcome'), 'r+');
      try {
        await calls(trial);
        await file.write('failure', 5);
        expect(await calls(trial)).toEqual([{ write: 'failure', offset: 5 }]);
        await file.sync();
        expect(await calls(trial)).toEqual([{ sync: 'outcome' }]);
      } finally {
        await file.close();
      }
    },
  },
  {
    must: 'a write that the tree refuses fails with its errno',
    async check({ shared }) {
      const file = await open(shared.path('writable', 'disk.raw'), 'r+');
      try {
        await expect(file.write('bytes')).rejects.toMatchObject({ code: 'EROFS' });
        await expect(file.truncate(5)).rejects.toMatchObject({ code: 'EROFS' });
      } finally {
        await file.close();
      }
    },
  },
  {
    must: 'mkdir and rmdir reach the tree, rmdir with what is in the folder; refused names keep their errno',
    async check(trial) {
      const at = (name: string): string => trial.shared.path('writable', 'snapshots', name);
      await calls(trial);
      await mkdir(at('monday'), 0o750);
      expect(await readdir(at('monday'))).toEqual(['inside']);
      await expect(mkdir(at('monday'))).rejects.toMatchObject({ code: 'EEXIST' });
      await expect(mkdir(at('refused'))).rejects.toMatchObject({ code: 'EINVAL' });
      await expect(rmdir(at('nothing'))).rejects.toMatchObject({ code: 'ENOENT' });
      await rmdir(at('monday'));
      expect(await readdir(at(''))).toEqual([]);
      await mkdir(at('monday'), 0o750);
      expect(await readdir(at(''))).toEqual(['monday']);
      await rmdir(at('monday'));
      expect(await calls(trial)).toEqual([
        { mkdir: 'monday', permissions: 0o750 },
        { rmdir: 'monday' },
        { mkdir: 'monday', permissions: 0o750 },
        { rmdir: 'monday' },
      ]);
    },
  },
  {
    must: 'files are not made, renamed or removed, also where folders are',
    async check({ shared }) {
      const at = (name: string): string => shared.path('writable', name);
      await expect(writeFile(at('new'), '')).rejects.toMatchObject({ code: 'EROFS' });
      await expect(unlink(at('outcome'))).rejects.toMatchObject({ code: 'EROFS' });
      await expect(rename(at('outcome'), at('other'))).rejects.toMatchObject({ code: 'EROFS' });
      await expect(rm(at('folder'), { recursive: true })).rejects.toMatchObject({ code: 'EROFS' });
      await expect(mkdir(at('other'))).rejects.toMatchObject({ code: 'EROFS' });
    },
  },
  {
    must: 'fallocate gives a range back (PUNCH_HOLE|KEEP_SIZE), and does nothing else',
    async check(trial) {
      const file = await open(trial.shared.path('writable', 'disk.raw'), 'r+');
      try {
        await calls(trial);
        await allocate(file.fd, PUNCH_HOLE | KEEP_SIZE, 65_536, 4096);
        await allocate(file.fd, PUNCH_HOLE | KEEP_SIZE, 0, discardableSize);
        expect(await calls(trial)).toEqual([
          { discard: 65_536, length: 4096 },
          { discard: 0, length: discardableSize },
        ]);
        for (const mode of [0, KEEP_SIZE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE, COLLAPSE_RANGE]) {
          await expect(allocate(file.fd, mode, 0, 4096), `mode ${mode}`).rejects.toMatchObject({
            code: 'EOPNOTSUPP',
          });
        }
        expect(await calls(trial)).toEqual([]);
      } finally {
        await file.close();
      }
    },
  },
];
