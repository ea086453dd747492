import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile, stat } from 'node:fs/promises';
import { expect } from 'vitest';
import { slowBytes, slowCachedBytes, slowFiles } from '../trees/slow.js';
import { type Behaviour, run, shell, type Trial } from './behaviour.js';

/** Has many read slow files at once, and others read beside them, each in one of the ways there are. */
async function manyReaders({ fresh }: Trial, reader: string, bytes: number): Promise<void> {
  const mounted = await fresh('all');
  const all = shell(
    `for index in $(seq 0 $(($2 - 1))); do ${reader} & done; wait`,
    mounted.path('slow'),
    String(slowFiles),
  );
  all.catch(() => undefined);
  await mounted.tell('slow', 'begun', slowFiles);
  expect((await run('cat', mounted.path('slow', 'quick'))).toString()).toBe('quick');
  await run('cmp', mounted.path('bytes', 'keep'), mounted.path('bytes', 'direct'));
  await run(
    'dd',
    `if=${mounted.path('bytes', 'keep')}`,
    'of=/dev/null',
    'bs=1M',
    'iflag=direct',
    'status=none',
  );
  expect((await shell('ls "$1" | wc -l', mounted.path('twin-a', 'folder'))).toString().trim()).toBe('22');
  await mounted.tell('slow', 'release');
  expect((await all).equals(Buffer.alloc(slowFiles * bytes, 's'))).toBe(true);
}

/** Waits of the callers. */
export const waiting: readonly Behaviour[] = [
  {
    must: 'a reader that is killed ends, and the wait of its tree with it',
    async check({ fresh }) {
      const mounted = await fresh('slow');
      const reader = spawn('cat', [mounted.path('slow-0')], { stdio: 'ignore' });
      const ended = once(reader, 'close');
      await mounted.tell('slow', 'begun', 1);
      reader.kill('SIGKILL');
      expect(await ended).toEqual([null, 'SIGKILL']);
      expect(await mounted.tell('slow', 'aborted', 1)).toBe(1);
      expect((await readFile(mounted.path('quick'))).toString()).toBe('quick');
      await expect.poll(async () => (await mounted.counts()).requests).toBe(0);
    },
  },
  {
    must: 'a look-up that is killed ends, and the wait of its tree with it',
    async check({ fresh }) {
      const mounted = await fresh('slow');
      const caller = spawn('stat', [mounted.path('slow-name')], { stdio: 'ignore' });
      const ended = once(caller, 'close');
      await mounted.tell('slow', 'begun', 1);
      caller.kill('SIGKILL');
      expect(await ended).toEqual([null, 'SIGKILL']);
      expect(await mounted.tell('slow', 'aborted', 1)).toBe(1);
    },
  },
  {
    must: `${slowFiles} readers of slow files hold up nobody else, and get their bytes in the end`,
    check: (trial) => manyReaders(trial, 'cat "$1/slow-$index"', slowBytes),
  },
  {
    must: `${slowFiles} readers of slow files that the kernel caches hold up nobody else`,
    check: (trial) => manyReaders(trial, 'cat "$1/cached-$index"', slowCachedBytes),
  },
  {
    must: `${slowFiles} readers with O_DIRECT of slow files hold up nobody else`,
    check: (trial) =>
      manyReaders(trial, 'dd if="$1/cached-$index" bs=64K iflag=direct status=none', slowCachedBytes),
  },
  {
    must: 'a slow look-up holds up nobody else, not even in its own folder',
    async check({ fresh }) {
      const mounted = await fresh('slow');
      const slow = stat(mounted.path('slow-name'));
      slow.catch(() => undefined);
      await mounted.tell('slow', 'begun', 1);
      const beside = shell('cat "$1"; ls -U "$2" | wc -l', mounted.path('quick'), mounted.mountpoint);
      expect((await beside).toString()).toMatch(/^quick\d+\n$/);
      await mounted.tell('slow', 'release');
      expect((await slow).size).toBe('at last'.length);
    },
  },
  {
    must: 'two reads of one open file wait for each other in no way',
    async check({ fresh }) {
      const mounted = await fresh('slow');
      const file = await open(mounted.path('slow-0'));
      try {
        const reads = [0, 1024, 2048].map((offset) => file.read(Buffer.alloc(512), 0, 512, offset));
        for (const read of reads) read.catch(() => undefined);
        expect(await mounted.tell('slow', 'begun', 3)).toBe(3);
        await mounted.tell('slow', 'release');
        for (const { bytesRead } of await Promise.all(reads)) expect(bytesRead).toBe(512);
      } finally {
        await file.close();
      }
    },
  },
];
