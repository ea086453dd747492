import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ExitCode } from '../../../src/cli/exit-code.js';
import { isWithin } from '../../../src/cli/mount-users.js';
import { isDescriptor, pathWithoutEntering, readyMountpoint } from '../../../src/cli/mountpoint.js';
import { silent } from '../../../src/log.js';

let folder: string;
let store: { name: string; path: string };
beforeEach(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), 'stillfs-mountpoint-')));
  store = { name: 'nightly', path: join(folder, 'store') };
  await mkdir(join(store.path, '100'), { recursive: true });
  await mkdir(join(folder, 'mnt'));
});
afterEach(() => rm(folder, { recursive: true }));

const ready = (path: string): Promise<string> =>
  readyMountpoint(
    path,
    {
      stores: [store],
      guests: [],
      state: join(folder, 'state'),
      cache: { folder: join(folder, 'cache'), limit: 1 },
    },
    silent,
  );

describe('a mountpoint', () => {
  it('is an empty folder outside of all stores, by its real path', async () => {
    await symlink('mnt', join(folder, 'link'));
    expect(await ready(join(folder, 'mnt'))).toBe(join(folder, 'mnt'));
    expect(await ready(join(folder, 'link'))).toBe(join(folder, 'mnt'));
    await mkdir(join(folder, 'store-too'));
    expect(await ready(join(folder, 'store-too'))).toBe(join(folder, 'store-too'));
  });

  it.each<[what: string, path: string, make: (path: string) => Promise<unknown>, message: string]>([
    [
      'that is not there',
      'none',
      async () => undefined,
      'there is no folder F/none to mount on; make one: mkdir -p F/none',
    ],
    ['whose parent is not there', 'no/ne', async () => undefined, 'there is no folder F/no/ne to mount on'],
    ['that is a file', 'file', (path) => writeFile(path, ''), 'F/file is not a folder'],
    ['in a file', 'file/x', () => writeFile(join(folder, 'file'), ''), 'F/file/x is not a folder'],
    [
      'that holds something',
      'full',
      (path) => mkdir(join(path, '.hidden'), { recursive: true }),
      'F/full is not empty',
    ],
    ['in the store', 'store/100', async () => undefined, 'F/store/100 lies in the store "nightly" (F/store)'],
    ['that is the store', 'store', async () => undefined, 'F/store lies in the store "nightly" (F/store)'],
    [
      'around the store',
      '.',
      async () => undefined,
      'the store "nightly" (F/store) lies in F: the mount would hide it',
    ],
    [
      'by a link into the store',
      'link',
      (path) => symlink('store/100', path),
      'F/store/100 lies in the store "nightly"',
    ],
    [
      'by a link to nothing',
      'link',
      (path) => symlink('none', path),
      'there is no folder F/link to mount on',
    ],
    ['by a link to itself', 'link', (path) => symlink('link', path), "F/link can't be mounted on: ELOOP"],
    [
      'that is mounted on',
      '/proc',
      async () => undefined,
      '/proc has proc mounted on it already; choose another folder',
    ],
  ])('%s is refused', async (_what, path, make, message) => {
    const target = path.startsWith('/') ? path : join(folder, path);
    await make(target);
    const refusal = await ready(target).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(refusal).toMatchObject({ name: 'CommandError', exitCode: ExitCode.usage });
    expect(refusal instanceof Error && refusal.message.replaceAll(folder, 'F')).toContain(message);
  });

  it('is not had with a store that is not there, or is no folder', async () => {
    store = { name: 'nightly', path: join(folder, 'none') };
    await expect(ready(join(folder, 'mnt'))).rejects.toThrow(
      `the store "nightly" is not there: no folder ${store.path}`,
    );
    await writeFile(store.path, '');
    await expect(ready(join(folder, 'mnt'))).rejects.toThrow(
      `the store "nightly" is not a folder: ${store.path}`,
    );
  });

  it('may be a descriptor of /dev/fuse, and of nothing else', async () => {
    expect(['/dev/fd/3', '/dev/fd/12', '/dev/fd/x', '/dev/fd/', '/dev/fd/3/x'].filter(isDescriptor)).toEqual([
      '/dev/fd/3',
      '/dev/fd/12',
    ]);
    await expect(ready('/dev/fd/0')).rejects.toThrow('/dev/fd/0 is no open descriptor of /dev/fuse');
    await expect(ready('/dev/fd/99999')).rejects.toThrow('there is none of that number');
  });
});

describe('the place of a mount that may not answer', () => {
  it('is found through links, also where the last part is one', async () => {
    await symlink('mnt', join(folder, 'link'));
    await symlink(join(folder, 'link'), join(folder, 'second'));
    await symlink('.', join(folder, 'here'));
    for (const path of ['mnt', 'link', 'second', 'here/second', 'here/here/mnt']) {
      expect(await pathWithoutEntering(join(folder, path))).toBe(join(folder, 'mnt'));
    }
    expect(await pathWithoutEntering('/')).toBe('/');
  });

  it('need not be there, but its parent must', async () => {
    expect(await pathWithoutEntering(join(folder, 'none'))).toBe(join(folder, 'none'));
    await expect(pathWithoutEntering(join(folder, 'no/ne'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('of a circle of links is one of them', async () => {
    await symlink('b', join(folder, 'a'));
    await symlink('a', join(folder, 'b'));
    expect(await pathWithoutEntering(join(folder, 'a'))).toMatch(/\/[ab]$/);
  });
});

describe('a path within a folder', () => {
  it.each([
    ['/a', '/a', true],
    ['/a/b', '/a', true],
    ['/ab', '/a', false],
    ['/', '/a', false],
    ['/a', '/', true],
    ['/', '/', true],
  ])('%s in %s: %s', (path, outer, is) => {
    expect(isWithin(path, outer)).toBe(is);
  });
});
