import { type FileHandle, open, readdir, stat } from 'node:fs/promises';
import { expect } from 'vitest';
import type { MountedTrees } from '../mounted-trees.js';
import { handleOf, openHandle } from '../system-calls.js';
import { deepName } from '../trees/attributes.js';
import { forgettable } from '../trees/forgetting.js';
import { type Behaviour, run, shell } from './behaviour.js';

interface Account {
  readonly told: number;
  readonly forgotten: number;
  readonly forgottenTwice: number;
  readonly opened: number;
}

/** What the tree knows of what the mount has said to it. */
async function account(mounted: MountedTrees): Promise<Account> {
  return (await mounted.tell('forgetting', 'account')) as unknown as Account;
}

/** Has the kernel forget all that is not in use, of this mount alone: remounting shrinks its tables. */
async function dropCaches(mounted: MountedTrees): Promise<void> {
  await run('mount', '-i', '-o', 'remount', mounted.mountpoint);
}

/** What is known of files, and what is open, goes when nobody needs it. */
export const forgetting: readonly Behaviour[] = [
  {
    must: 'what the kernel has forgotten is forgotten by mount and tree, each file once',
    async check({ fresh }) {
      const mounted = await fresh('forgetting');
      for (let time = 0; time < 2; time++) {
        const sizes = await run('find', mounted.path('folder'), '-type', 'f', '-printf', '%s\n');
        expect(sizes.toString().trim().split('\n')).toHaveLength(forgettable);
        expect((await mounted.counts()).nodes).toBeGreaterThan(forgettable);
        await dropCaches(mounted);
        await expect.poll(async () => (await mounted.counts()).nodes, { timeout: 10_000 }).toBeLessThan(5);
        await expect.poll(async () => (await account(mounted)).told).toBeLessThan(5);
        expect((await account(mounted)).forgottenTwice).toBe(0);
      }
    },
  },
  {
    must: 'a file that is open is not forgotten',
    async check({ fresh }) {
      const mounted = await fresh('forgetting');
      const file = await open(mounted.path('folder', 'file-7'));
      try {
        await dropCaches(mounted);
        expect((await file.readFile()).toString()).toBe('content 7');
        expect((await file.stat()).size).toBe('content 7'.length);
      } finally {
        await file.close();
      }
    },
  },
  {
    must: '10 000 look-ups of names that are not there leave nothing behind',
    async check({ fresh }) {
      const mounted = await fresh('forgetting');
      await stat(mounted.path('folder'));
      const before = (await mounted.counts()).nodes;
      const script = 'cd "$1"; for index in $(seq 10000); do [ ! -e "missing-$index" ] || exit 1; done';
      await shell(script, mounted.path('folder'));
      expect((await mounted.counts()).nodes).toBe(before);
    },
  },
  {
    must: '1000 files that are opened and closed leave no handle and no descriptor behind',
    async check({ fresh }) {
      const mounted = await fresh('forgetting');
      await stat(mounted.path('folder'));
      const before = Number(await mounted.tell('mount', 'descriptors'));
      const files: FileHandle[] = [];
      for (let index = 0; index < 1000; index++)
        files.push(await open(mounted.path('folder', `file-${index}`)));
      expect((await mounted.counts()).files).toBe(1000);
      await Promise.all(files.map((file) => file.close()));
      // The kernel says so when it likes.
      await expect.poll(async () => (await mounted.counts()).files).toBe(0);
      expect(await account(mounted)).toMatchObject({ opened: 0 });
      expect(Number(await mounted.tell('mount', 'descriptors'))).toBeLessThanOrEqual(before + 2);
    },
  },
  {
    must: 'the handle of a forgotten folder leads to it, and up from it (open_by_handle_at)',
    async check({ fresh }) {
      const mounted = await fresh('attributes');
      const below = mounted.path(deepName, deepName);
      const handle = await handleOf(below);
      const above = (await stat(mounted.path(deepName))).ino;
      await dropCaches(mounted);
      await expect.poll(async () => (await mounted.counts()).nodes).toBeLessThan(4);
      const mount = await open(mounted.mountpoint);
      try {
        const folder = await open(`/proc/self/fd/${await openHandle(mount.fd, handle)}`);
        expect(await readdir(`/proc/self/fd/${folder.fd}`)).toEqual([deepName]);
        expect((await stat(`/proc/self/fd/${folder.fd}/..`)).ino).toBe(above);
        await folder.close();
      } finally {
        await mount.close();
      }
    },
  },
  {
    must: 'the handle of a forgotten file opens it again (open_by_handle_at)',
    async check({ fresh }) {
      for (const tree of ['forgetting', 'all'] as const) {
        const mounted = await fresh(tree);
        const path = mounted.path(...(tree === 'all' ? ['forgetting'] : []), 'folder', 'file-42');
        const handle = await handleOf(path);
        await dropCaches(mounted);
        await expect.poll(async () => (await mounted.counts()).nodes).toBeLessThan(4);
        const mount = await open(mounted.mountpoint);
        try {
          const again = await open(`/proc/self/fd/${await openHandle(mount.fd, handle)}`);
          expect((await again.readFile()).toString()).toBe('content 42');
          await again.close();
        } finally {
          await mount.close();
        }
      }
    },
  },
];
