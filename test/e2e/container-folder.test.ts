import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeSmallFiles } from '../corpus/guest-trees.js';
import { makeOddities } from '../corpus/oddities.js';
import { compareTrees } from '../tree-comparison/compare-trees.js';
import { MountedStore, output } from './mounted-store.js';

const backup = 'lxc-1700000000';
const time = '20231114T221320Z';
const files = process.env.STILLFS_FULL ? 100_000 : 10_000;
/** Paths longer than PATH_MAX, which tar and rsync refuse by themselves. */
const tooDeep = 'deep';

describe('a container that is kept as a folder', () => {
  let store: MountedStore;
  let stored: string;
  let shown: string;

  beforeAll(async () => {
    store = await MountedStore.make();
    stored = join(store.store, '200', backup, 'rootfs');
    await mkdir(stored, { recursive: true });
    makeOddities(stored);
    const many = join(store.store, '201', backup, 'rootfs');
    await mkdir(many, { recursive: true });
    await makeSmallFiles(many, files);
    await store.mount();
    shown = store.path('200', time, 'rootfs');
  }, 600_000);
  afterAll(() => store.remove());

  it('is shown with every oddity that a file can have', async () => {
    expect(await compareTrees(stored, shown, { holes: 'same' })).toEqual([]);
  });

  it('gives tar the same archive as the original', async () => {
    const pipe =
      'tar --acls --xattrs --xattrs-include="*" --sparse --exclude=./deep --numeric-owner -C "$1" -cf - . | ' +
      'tar --acls --xattrs --xattrs-include="*" --numeric-owner -C "$2" -xpf -';
    const copies: string[] = [];
    // Some oddities tar itself can't hold (sockets, links to fifos): what it makes of the original is the measure.
    for (const [name, from] of [
      ['original', stored],
      ['mounted', shown],
    ] as const) {
      const to = join(store.folder, name);
      await mkdir(to);
      await output('sh', '-c', pipe, 'sh', from, to);
      copies.push(to);
    }
    const [original = '', mounted = ''] = copies;
    expect(await compareTrees(original, mounted, { holes: 'same' })).toEqual([]);
    await output('rm', '-rf', original, mounted);
  });

  it('is the same after rsync -aHAXS', async () => {
    const to = join(store.folder, 'by-rsync');
    await output(
      'rsync',
      '-aHAXS',
      '--numeric-ids',
      '--specials',
      '--exclude=/deep',
      '--devices',
      `${shown}/`,
      to,
    );
    const differences = await compareTrees(stored, to);
    expect(differences.filter(({ path }) => path !== tooDeep)).toEqual([]);
    await rm(to, { recursive: true });
  });

  it(`of ${files} files is the same after tar, and find sees each once`, async () => {
    const many = store.path('201', time, 'rootfs');
    const to = join(store.folder, 'many');
    await mkdir(to);
    await output(
      'sh',
      '-c',
      'tar --acls --xattrs --numeric-owner -C "$1" -cf - . | tar --acls --xattrs --numeric-owner -C "$2" -xpf -',
      'sh',
      many,
      to,
    );
    expect(await compareTrees(join(store.store, '201', backup, 'rootfs'), to)).toEqual([]);
    const found = await output('find', many, '-type', 'f', '-name', 'file-*');
    expect(new Set(found.trim().split('\n')).size).toBe(files);
    await rm(to, { recursive: true });
  }, 900_000);
});
