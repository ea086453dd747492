import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile, stat } from 'node:fs/promises';
import { expect } from 'vitest';
import { slowFiles } from '../trees/slow.js';
import { type Behaviour, shell } from './behaviour.js';

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
    async check({ fresh }) {
      const mounted = await fresh('all');
      const all = shell(
        'for index in $(seq 0 $(($2 - 1))); do cat "$1/slow-$index" & done; wait',
        mounted.path('slow'),
        String(slowFiles),
      );
      all.catch(() => undefined);
      await mounted.tell('slow', 'begun', slowFiles);
      expect((await shell('cat "$1"', mounted.path('slow', 'quick'))).toString()).toBe('quick');
      expect((await shell('cat "$1" | wc -c', mounted.path('bytes', 'keep'))).toString().trim()).toBe(
        '8388613',
      );
      expect((await shell('ls "$1" | wc -l', mounted.path('twin-a', 'folder'))).toString().trim()).toBe('22');
      await mounted.tell('slow', 'release');
      expect((await all).equals(Buffer.alloc(slowFiles * 4096, 's'))).toBe(true);
    },
  },
  {
    must: `${slowFiles} readers of slow files that the kernel caches hold up nobody else`,
    async check({ fresh }) {
      const mounted = await fresh('all');
      const all = shell(
        'for index in $(seq 0 $(($2 - 1))); do cat "$1/cached-$index" & done; wait',
        mounted.path('slow'),
        String(slowFiles),
      );
      all.catch(() => undefined);
      await mounted.tell('slow', 'begun', slowFiles);
      expect((await shell('cat "$1" | wc -c', mounted.path('bytes', 'keep'))).toString().trim()).toBe(
        '8388613',
      );
      await mounted.tell('slow', 'release');
      expect((await all).equals(Buffer.alloc(slowFiles * 4096, 's'))).toBe(true);
    },
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
