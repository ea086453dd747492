import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile, stat } from 'node:fs/promises';
import { execa } from 'execa';
import { expect } from 'vitest';
import { MountedTrees } from '../mounted-trees.js';
import { type Behaviour, run } from './behaviour.js';

async function isMounted(mountpoint: string): Promise<boolean> {
  return (await readFile('/proc/self/mountinfo', 'utf8')).includes(` ${mountpoint} `);
}

/** How a mount ends. */
export const endings: readonly Behaviour[] = [
  {
    must: 'a mount in use is EBUSY and serves on; once it is not, it ends, and its process with it',
    async check({ fresh }) {
      const mounted = await fresh('twin-a');
      const file = await open(mounted.path('folder', 'file-0'));
      try {
        expect(await mounted.unmount()).toBe('EBUSY');
        expect((await readFile(mounted.path('folder', 'file-1'))).toString()).toBe('twin a, file 1');
      } finally {
        await file.close();
      }
      expect(await mounted.unmount()).toBe(null);
      expect(await mounted.exited()).toBe(0);
      expect(await isMounted(mounted.mountpoint)).toBe(false);
    },
  },
  {
    must: 'a mount that umount ends lets its process end',
    async check({ fresh }) {
      const mounted = await fresh('twin-a');
      await stat(mounted.path('folder'));
      await run('umount', mounted.mountpoint);
      expect(await mounted.exited()).toBe(0);
    },
  },
  {
    must: 'force ends a mount in use: who waits for it gets an error, and its process ends',
    async check({ fresh }) {
      const mounted = await fresh('slow');
      const reader = execa('cat', [mounted.path('slow-0')], { reject: false });
      await mounted.tell('slow', 'begun', 1);
      const file = await open(mounted.path('quick'));
      try {
        expect(await mounted.unmount(true)).toBe(null);
        expect((await reader).exitCode).toBe(1);
        await expect(file.readFile()).rejects.toThrow();
      } finally {
        // Who closes a file of a mount that is gone may be told so.
        await file.close().catch(() => undefined);
      }
      expect(await mounted.exited()).toBe(0);
      expect(await isMounted(mounted.mountpoint)).toBe(false);
    },
  },
  {
    must: 'a server that is killed leaves ENOTCONN to readers, and umount -l makes room for the next',
    async check({ fresh }) {
      const mounted = await fresh('twin-a');
      const file = await open(mounted.path('folder', 'file-0'));
      try {
        const slow = spawn('tail', ['-f', mounted.path('folder', 'file-1')], { stdio: 'ignore' });
        const gone = once(slow, 'close');
        await mounted.kill();
        await expect(stat(mounted.path('folder', 'file-7'))).rejects.toMatchObject({ code: 'ENOTCONN' });
        await expect(file.readFile()).rejects.toMatchObject({ code: 'ENOTCONN' });
        slow.kill();
        await gone;
        await run('umount', '-l', mounted.mountpoint);
        const next = await MountedTrees.start({ ...mounted.way, tree: 'twin-b' }, mounted.mountpoint);
        try {
          expect((await readFile(next.path('folder', 'file-0'))).toString()).toBe('twin b, file 0');
        } finally {
          await next.stop();
        }
      } finally {
        await file.close().catch(() => undefined);
      }
    },
  },
];
