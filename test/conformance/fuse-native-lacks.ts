import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstat, open, readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { codeOf } from '../../src/errors.js';
import { statusAt } from './behaviours/attributes.js';
import { type Behaviour, run, shell, type Trial } from './behaviours/behaviour.js';
import { rowsOf } from './behaviours/folders.js';
import { dataOf, sparseFiles } from './behaviours/holes.js';
import { bytesRead } from './behaviours/reading.js';
import { allocate, handleOf, KEEP_SIZE, openHandle, PUNCH_HOLE } from './system-calls.js';
import { described } from './trees/attributes.js';
import { sparse } from './trees/bytes.js';
import { forgettable } from './trees/forgetting.js';
import { oddNames, oddTargets } from './trees/names.js';
import { passedSize } from './trees/passed.js';

/** What holds instead of a behaviour that this transport lacks. */
export interface Lack {
  /** In one sentence. */
  readonly instead: string;
  readonly check: Behaviour['check'];
}

const MiB = 2 ** 20;
const isUtf8 = (name: string): boolean =>
  Buffer.from(Buffer.from(name, 'latin1').toString('utf8')).toString('latin1') === name;

/** The behaviours that libfuse 2 and the fuse-native package keep from a mount, by their sentences. */
export const fuseNativeLacks: Readonly<Record<string, Lack>> = {
  'names of any bytes are listed as they are, and lead to their files': {
    instead: 'names that are UTF-8 are; the others are left out and can not be opened',
    async check({ shared }) {
      const folder = shared.path('names', 'odd');
      const shown = oddNames.filter(isUtf8);
      const listed = await readdir(folder, { encoding: 'buffer' });
      expect(listed.map((name) => name.toString('latin1')).sort()).toEqual([...shown].sort());
      for (const name of shown) {
        const path = Buffer.from(`${folder}/`.concat(Buffer.from(name, 'latin1').toString('utf8')));
        expect((await readFile(path)).toString('latin1')).toBe(name);
      }
      const other = Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0xe9])]);
      await expect(stat(other)).rejects.toMatchObject({ code: 'ENOENT' });
    },
  },
  'symlinks lead to any bytes, and nobody follows them but the caller': {
    instead: 'targets that are UTF-8 are read, others are EILSEQ',
    async check({ shared }) {
      for (const [index, target] of oddTargets.entries()) {
        const path = shared.path('names', 'targets', `target-${index}`);
        expect((await lstat(path)).size).toBe(target.length);
        if (isUtf8(target)) expect(await readlink(path)).toBe(target);
        else await expect(readlink(path)).rejects.toMatchObject({ code: 'EILSEQ' });
      }
    },
  },
  'a listing tells the inode and the kind of each file, as stat does': {
    instead: 'it tells the kind alone',
    async check({ shared }) {
      for (const { name, inode, type } of await rowsOf(shared.path('attributes'))) {
        expect(inode, name).toBe(0xffff_ffffn);
        if (name === 'block' || name === 'socket') expect(type).toBe(name);
        if (name === 'sticky') expect(type).toBe('directory');
      }
    },
  },
  '. and .. come first, and are the folder and its parent, also where a tree stands upon another': {
    instead: 'they come first, without numbers, and lead there',
    async check({ shared }) {
      const folder = shared.path('twin-a');
      const rows = await rowsOf(folder);
      expect(rows.slice(0, 2).map(({ name }) => name)).toEqual(['.', '..']);
      expect((await stat(`${folder}/..`)).ino).toBe((await stat(shared.mountpoint)).ino);
    },
  },
  'times have nanoseconds, before 1970 and after 2106 too': {
    instead: 'they have milliseconds, and 1970 is the first year',
    async check(trial) {
      const { modified } = described['nanosecond-times'];
      expect((await statusAt(trial, 'nanosecond-times')).modified).toEqual({
        seconds: modified.seconds,
        nanoseconds: 123_000_000,
      });
      expect((await statusAt(trial, 'before-1970')).modified).toEqual({ seconds: 0, nanoseconds: 0 });
      expect((await statusAt(trial, 'after-2106')).modified).toEqual({
        seconds: described['after-2106'].modified.seconds,
        nanoseconds: 0,
      });
    },
  },
  'the names of a hard-linked file are one file': {
    instead: 'their number is told, but each is a file of its own',
    async check({ shared }) {
      const one = await lstat(shared.path('attributes', 'hard-link-1'));
      const other = await lstat(shared.path('attributes', 'hard-link-2'));
      expect([one.nlink, other.nlink]).toEqual([2, 2]);
      expect(other.ino).not.toBe(one.ino);
    },
  },
  'tar makes no links between strangers, and keeps those that are': {
    instead: 'it makes no links at all',
    async check({ shared, folder }) {
      const copy = await folder();
      await shell('tar -C "$1" -cf - twin-a twin-b | tar -C "$2" -xf -', shared.path(), copy);
      await copiesWithoutLinks(shared.path(), copy);
    },
  },
  'rsync -aH makes no links between strangers, and keeps those that are': {
    instead: 'it makes no links at all',
    async check({ shared, folder }) {
      const copy = await folder();
      await run('rsync', '-aH', shared.path('twin-a'), shared.path('twin-b'), copy);
      await copiesWithoutLinks(shared.path(), copy);
    },
  },
  'find and du walk all trees of a mount, and see no loop and no file twice': {
    instead: 'they see no loop, and a file as often as it has names',
    async check({ shared }) {
      const printed = await run('find', shared.path('twin-a'), shared.path('twin-b'), '-type', 'f');
      expect(printed.toString().trim().split('\n')).toHaveLength(44);
      await run('du', '-s', shared.path('twin-a'), shared.path('twin-b'));
    },
  },
  'a read of 1 MiB reaches the tree in one piece': {
    instead: 'it reaches the tree in pieces of 128 KiB',
    async check(trial) {
      await trial.shared.tell('bytes', 'reset');
      const input = `if=${trial.shared.path('bytes', 'direct')}`;
      await run('dd', input, 'of=/dev/null', 'bs=1M', 'count=4', 'status=none');
      expect((await bytesRead(trial, 'direct')).largest).toBe(131_072);
    },
  },
  'a file that never changes is read from the tree once, whoever opens it again': {
    instead: 'it is read each time that it is opened',
    async check(trial) {
      await trial.shared.tell('bytes', 'reset');
      for (let time = 1; time <= 2; time++) {
        await run('cat', trial.shared.path('bytes', 'once', 'cached'));
        expect((await bytesRead(trial, 'once/cached')).bytes).toBe(time * MiB);
      }
    },
  },
  'a small file that is at hand is read from the tree once, whoever opens it again': {
    instead: 'it is read each time that it is opened',
    async check(trial) {
      await trial.shared.tell('bytes', 'reset');
      for (let time = 1; time <= 2; time++) {
        await run('cat', trial.shared.path('bytes', 'at-hand', '10000'));
        expect((await bytesRead(trial, 'at-hand/10000')).reads).toBe(time);
      }
    },
  },
  'a file that is not to be cached is read from the tree each time': {
    instead: 'it is read once each time that it is opened',
    async check(trial) {
      for (let time = 0; time < 2; time++) {
        const file = await open(trial.shared.path('bytes', 'direct'));
        try {
          await trial.shared.tell('bytes', 'reset');
          await file.read(Buffer.alloc(4096), 0, 4096, 0);
          const { reads } = await bytesRead(trial, 'direct');
          expect(reads).toBeGreaterThan(0);
          await file.read(Buffer.alloc(4096), 0, 4096, 0);
          expect((await bytesRead(trial, 'direct')).reads).toBe(reads);
        } finally {
          await file.close();
        }
      }
    },
  },
  'SEEK_DATA and SEEK_HOLE tell where data lies, to the byte': {
    instead: 'they tell of data alone',
    async check({ shared }) {
      for (const name of sparseFiles) {
        expect(await dataOf(shared.path('bytes', name))).toEqual([[0, sparse.size]]);
      }
    },
  },
  'fallocate gives a range back (PUNCH_HOLE|KEEP_SIZE), and does nothing else': {
    instead: 'it is EOPNOTSUPP',
    async check({ shared }) {
      const file = await open(shared.path('writable', 'disk.raw'), 'r+');
      try {
        await expect(allocate(file.fd, PUNCH_HOLE | KEEP_SIZE, 0, 4096)).rejects.toMatchObject({
          code: 'EOPNOTSUPP',
        });
        expect(await shared.tell('writable', 'calls')).toEqual([]);
      } finally {
        await file.close();
      }
    },
  },
  'an error of attributes reaches the caller with its errno': {
    instead: 'it does when what was told before is a second old',
    async check({ shared }) {
      const file = await open(shared.path('errors', 'attributes', 'EACCES'));
      try {
        const code = (): Promise<unknown> => file.stat().then(() => undefined, codeOf);
        await expect.poll(code, { timeout: 5000 }).toBe('EACCES');
      } finally {
        await file.close();
      }
    },
  },
  'a reader that is killed ends, and the wait of its tree with it': {
    instead: 'both end when the time for an answer has passed',
    async check({ fresh }) {
      const mounted = await fresh('slow', { limit: 1000 });
      const reader = spawn('cat', [mounted.path('slow-0')], { stdio: 'ignore' });
      const ended = once(reader, 'close');
      await mounted.tell('slow', 'begun', 1);
      reader.kill('SIGKILL');
      expect(await ended).toEqual([null, 'SIGKILL']);
      expect(await mounted.tell('slow', 'aborted', 1)).toBeGreaterThan(0);
      expect((await readFile(mounted.path('quick'))).toString()).toBe('quick');
    },
  },
  'a look-up that is killed ends, and the wait of its tree with it': {
    instead: 'both end when the time for an answer has passed',
    async check({ fresh }) {
      const mounted = await fresh('slow', { limit: 1000 });
      const caller = spawn('stat', [mounted.path('slow-name')], { stdio: 'ignore' });
      const ended = once(caller, 'close');
      await mounted.tell('slow', 'begun', 1);
      caller.kill('SIGKILL');
      expect(await ended).toEqual([null, 'SIGKILL']);
      expect(await mounted.tell('slow', 'aborted', 1)).toBe(1);
    },
  },
  'a slow look-up holds up nobody else, not even in its own folder': {
    instead: 'it holds up look-ups in its own folder, and nobody elsewhere',
    async check({ fresh }) {
      const mounted = await fresh('all');
      const slow = stat(mounted.path('slow', 'slow-name'));
      slow.catch(() => undefined);
      await mounted.tell('slow', 'begun', 1);
      const elsewhere = await run('cat', mounted.path('twin-a', 'folder', 'file-0'));
      expect(elsewhere.toString()).toBe('twin a, file 0');
      await mounted.tell('slow', 'release');
      expect((await slow).size).toBe('at last'.length);
    },
  },
  'two reads of one open file wait for each other in no way': {
    instead: 'those of one page wait for the first of them',
    async check({ fresh }) {
      const mounted = await fresh('slow');
      const file = await open(mounted.path('slow-0'));
      try {
        const reads = [0, 1024].map((offset) => file.read(Buffer.alloc(512), 0, 512, offset));
        await mounted.tell('slow', 'begun', 1);
        await mounted.tell('slow', 'release');
        for (const { bytesRead: length } of await Promise.all(reads)) expect(length).toBe(512);
      } finally {
        await file.close();
      }
    },
  },
  'who has a file open sees new bytes once the tree has told of them': {
    instead: 'who opens the file again does',
    async check({ fresh }) {
      const mounted = await fresh('changing');
      const file = await open(mounted.path('file'));
      try {
        const read = async (from: typeof file): Promise<string> => {
          const { buffer, bytesRead: length } = await from.read(Buffer.alloc(64), 0, 64, 0);
          return buffer.toString('utf8', 0, length);
        };
        expect(await read(file)).toBe('before');
        await mounted.tell('changing', 'write', 'after!');
        expect(await read(file)).toBe('before');
        expect((await readFile(mounted.path('file'))).toString()).toBe('after!');
      } finally {
        await file.close();
      }
    },
  },
  'the handle of a forgotten file opens it again (open_by_handle_at)': {
    instead: 'it is ESTALE',
    check: (trial) => handleIsStale(trial, 'folder', 'file-42'),
  },
  'the handle of a forgotten folder leads to it, and up from it (open_by_handle_at)': {
    instead: 'it is ESTALE',
    check: (trial) => handleIsStale(trial, 'folder'),
  },
  'a file that the kernel may read by itself is not read from the tree': {
    instead: 'it is',
    async check({ fresh }) {
      const mounted = await fresh('passed');
      expect(await readFile(mounted.path('file'))).toHaveLength(passedSize);
      expect(await mounted.tell('passed', 'seen')).not.toMatchObject({ reads: 0 });
    },
  },
  'what the kernel has forgotten is forgotten by mount and tree, each file once': {
    instead: 'what was looked at again and again is known once, and forgotten when names grow too many',
    async check({ fresh }) {
      const mounted = await fresh('forgetting');
      const walk = async (): Promise<number> => {
        await run('find', mounted.path('folder'), '-type', 'f', '-printf', '%s\n');
        return (await mounted.counts()).nodes;
      };
      const after = await walk();
      expect(after).toBeLessThan(forgettable + 10);
      expect(await walk()).toBe(after);
      expect(await mounted.tell('forgetting', 'account')).toMatchObject({ forgottenTwice: 0 });
    },
  },
};

/** Whether a copy of both twins has all their bytes, and no file that has two names. */
async function copiesWithoutLinks(mount: string, copy: string): Promise<void> {
  for (const twin of ['twin-a', 'twin-b']) {
    await run('diff', '-r', join(mount, twin), join(copy, twin));
    expect((await stat(join(copy, twin, 'folder', 'hard-link-1'))).nlink).toBe(1);
  }
}

async function handleIsStale({ fresh }: Trial, ...path: string[]): Promise<void> {
  const mounted = await fresh('forgetting');
  const handle = await handleOf(mounted.path(...path));
  await run('mount', '-i', '-o', 'remount', mounted.mountpoint);
  const mount = await open(mounted.mountpoint);
  try {
    await expect(openHandle(mount.fd, handle)).rejects.toMatchObject({ code: 'ESTALE' });
  } finally {
    await mount.close();
  }
}
